"""The benchmarks by their commands, in their smallest form: tables, files, warnings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare_ratios import warnings_of
from benchmarks.compilation import command
from benchmarks.measuring import exponent, in_a_process

ROOT = Path(__file__).resolve().parents[1]


def run(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_an_exponent_is_that_of_the_large_end():
    sizes = np.array([1, 2, 4, 8, 16])
    assert exponent(sizes, 7 + 0 * sizes) == pytest.approx(0)
    assert exponent(sizes, np.maximum(5, 0.3 * sizes**2.0)[::1]) == pytest.approx(2, abs=0.5)
    assert exponent(sizes[::-1], 3.0 * sizes[::-1] ** 1.5) == pytest.approx(1.5)


def test_a_process_that_fails_is_an_error_with_what_it_wrote():
    with pytest.raises(RuntimeError, match="No module named benchmarks.nothing"):
        in_a_process("benchmarks.nothing", [])


def test_only_a_ratio_that_grew_by_more_than_a_fifth_is_warned_of():
    stored = {"a": 1.0, "b": 1.0}
    assert not warnings_of({"a": 1.19, "b": 0.2, "new": 9.0}, stored)
    (warning,) = warnings_of({"a": 1.21, "b": 1.0}, stored)
    assert warning.startswith("warning: a takes 1.21")


def test_photographs_are_read_where_a_corpus_is_named():
    assert "--config.data.kind=synthetic" in command("alexnet", None, Path("x"))
    assert "--config.data.path=corpora/lfw" in command("alexnet", "corpora/lfw", Path("x"))
    assert "--config.data.kind=synthetic" in command("quickstart", "corpora/lfw", Path("x"))


@pytest.mark.slow
def test_rasterizer_beside_deodr(tmp_path):
    pytest.importorskip("deodr", reason="the rival is not installed")
    file = tmp_path / "numbers.json"
    sizes = ["--sides=64,128,192", "--resolutions=10,20,30", "--runs=1"]
    table = run("rasterizer", *sizes, f"--output={file}")
    assert "DEODR, ms" in table
    numbers = json.loads(file.read_text())
    assert [row["IoU"] > 0.999 for row in numbers["rivals"]] == [True] * 3
    assert {"command", "hardware", "versions", "commit"} <= numbers.keys()


@pytest.mark.slow
@pytest.mark.parametrize("row", ["batch:1", "modes:56", "step_memory:compact"])
def test_a_row_of_scaling(row):
    numbers = json.loads(run("scaling", f"--row={row}", "--runs=1").splitlines()[-1])
    assert numbers[row.split(":")[0]] == int(row.split(":")[1]) if "step" not in row else True
    if "step" in row:  # all of the state's memory is used again
        assert numbers["donated, of the state"] == pytest.approx(1, abs=1e-3)
    else:
        assert numbers["ms"] > 0 and numbers["program, MB"] > 0


@pytest.mark.slow
def test_ratios_are_written_and_compared(tmp_path):
    file = tmp_path / "ratios.json"
    run("compare_ratios", "--runs=1", "--update", f"--file={file}")
    ratios = json.loads(file.read_text())["ratios"]
    file.write_text(json.dumps({"ratios": {name: 1e-6 for name in ratios}}))
    told = run("compare_ratios", "--runs=1", f"--file={file}")
    assert told.count("warning:") == len(ratios)
