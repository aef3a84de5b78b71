"""The page of results: what it shows is what the results' files say, beside the paper's numbers."""

import json
import subprocess
import sys

import pytest

from benchmarks import results
from benchmarks.paper import EXPERIMENTS

_HARDWARE = {"processor": "a", "cores": 2, "devices": ["cpu"], "platform": "b"}
_ORIGIN = {"date": "2026-01-01", "commit": "0123456789", "hardware": _HARDWARE}


def _evaluation(landmark: float) -> dict:
    errors = {"landmark_error": {"mean": landmark, "median": 0.0}, "nme": {"mean": 1.0}}
    command = "python -m mofa_jax.evaluate --corpus=/home/me/corpora/lfw --output=out"
    return {
        "all": {"errors": errors, "num_faces": 7, "num_failed": 1},
        "command": command,
    } | _ORIGIN


def test_the_page_is_what_the_results_give():
    found = {p.stem: json.loads(p.read_text()) for p in results.FOLDER.glob("*.json")}
    page = results.PAGE.read_text(encoding="utf-8")
    assert page.partition(results.BEGIN)[2].partition(results.END)[0].strip() == (
        results.tables(found).strip()
    )


def test_every_result_stands_on_the_page():
    named = {name for experiment in EXPERIMENTS for name in experiment.ours.values()}
    assert {path.stem for path in results.FOLDER.glob("*.json")} <= named


def test_an_evaluation_keeps_its_means_and_loses_its_folders():
    reduced = results.reduced(_evaluation(3.25))
    assert reduced["rows"] == {"": {"landmark_error": 3.25}}
    assert reduced["command"] == "python -m mofa_jax.evaluate --corpus=lfw --output=out"
    table = results.tables({"built_in.lfw": reduced})
    row = next(line for line in table.splitlines() if "bundled encoder (landmarks), LFW" in line)
    assert "3.25" in row
    assert "7 faces, 1 of them failed, 2 CPU cores, 0123456" in row


def test_a_training_gives_its_start_and_its_end():
    calls = [{"steps": 60, "seconds": 90.0, "command": "a", **_ORIGIN}] * 2
    held_out = {"landmark_error": {"0": 9.0, "100": 5.0, "120": 4.5}, "num_failed": {"0": 0.0}}
    training = {"command": ["python", "main.py"], "calls": calls, "held_out": held_out}
    reduced = results.reduced(training)
    assert reduced["rows"] == {
        "start": {"landmark_error": 9.0},
        "step 120": {"landmark_error": 4.5},
    }
    assert (reduced["steps"], reduced["seconds"]) == (120, 180.0)


def test_nested_statistics_give_a_row_each():
    statistics = {
        "with landmarks": {"encoder, 0 steps": {"landmark_error": {"mean": 2.0, "count": 9}}}
    }
    reduced = results.reduced({"statistics": statistics, "command": "c", **_ORIGIN})
    assert reduced["rows"] == {"with landmarks, encoder, 0 steps": {"landmark_error": 2.0}}
    assert (reduced["faces"], reduced["failed"]) == (9, 0)
    faces = {"with landmarks": {"a 0": {}, "b 1": {"failed": "no face"}}, "without": {}}
    reduced = results.reduced({"statistics": statistics, "faces": faces, "command": "c", **_ORIGIN})
    assert (reduced["faces"], reduced["failed"]) == (10, 1)


def test_a_name_that_no_experiment_shows_is_refused(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps(_evaluation(3.25)))
    line = [sys.executable, "-m", "benchmarks.results", f"--add={tmp_path}/evaluation.json"]
    done = subprocess.run([*line, "--name=mine"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no experiment of benchmarks/paper.py" in done.stderr


@pytest.mark.parametrize("content", [{"a": 1}, {"all": {}}])
def test_what_is_no_result_is_refused(content):
    with pytest.raises((ValueError, KeyError)):
        results.reduced(content)
