"""What the command does after training: reconstructs, stops, or says what is wrong."""

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import main
from mofa_jax.checkpoint import CheckpointError


@pytest.fixture
def drawn(monkeypatch):
    """The workdirs that were reconstructed; flags and logging are left alone."""
    workdirs = []
    monkeypatch.setattr(main, "_CONFIG", SimpleNamespace(value=None))
    monkeypatch.setattr(main, "_WORKDIR", SimpleNamespace(value="run"))
    monkeypatch.setattr(main.command_line, "begin", lambda: None)
    monkeypatch.setattr(main, "reconstruct_after_training", lambda _, w: not workdirs.append(w))
    return workdirs


def test_a_finished_run_is_reconstructed(monkeypatch, drawn):
    monkeypatch.setattr(main, "run_experiment", lambda config, workdir: {"num_failed": 0})
    main.main(["main.py"])
    assert drawn == ["run"]


def test_a_reconstruction_that_is_not_complete_is_a_failure(monkeypatch, drawn):
    monkeypatch.setattr(main, "run_experiment", lambda config, workdir: {"num_failed": 0})
    monkeypatch.setattr(main, "reconstruct_after_training", lambda config, workdir: False)
    with pytest.raises(SystemExit) as ended:
        main.main(["main.py"])
    assert ended.value.code == 1


def test_a_stopped_run_is_not_and_the_command_has_failed(monkeypatch, drawn):
    """Or `main.py ... && python -m mofa_jax.evaluate ...` would evaluate half a training."""
    monkeypatch.setattr(main, "run_experiment", lambda config, workdir: None)
    with pytest.raises(SystemExit) as ended:
        main.main(["main.py"])
    assert ended.value.code == 143 and not drawn


@pytest.mark.parametrize(
    "error, sentence",
    [
        (CheckpointError("checkpoints/4: is damaged."), r"error: checkpoints/4: is damaged\."),
        (OSError(errno.ENOSPC, "No space left"), r"error: run: cannot be written \(No space left"),
        (KeyboardInterrupt(), r"Stopped; the same command goes on\."),
    ],
    ids=["input", "disk", "Ctrl-C"],
)
def test_what_is_wrong_is_one_sentence_and_a_failure(monkeypatch, drawn, error, sentence):
    def failing(config, workdir):
        raise error

    monkeypatch.setattr(main, "run_experiment", failing)
    with pytest.raises(SystemExit, match=f"^{sentence}"):
        main.main(["main.py"])
    assert not drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--config=configs/compact.py", "--config.lr=1"),
            "--config has no field 'lr'; see the default.py beside it, in configs/ or "
            "configs/corpora/.",
        ),
        (
            ("--config=configs/compact.py", "--config.data.pth=a"),
            "--config has no field 'pth' (did you mean 'path'?); see the default.py beside it, in "
            "configs/ or configs/corpora/.",
        ),
        (("--config=compact",), "compact: there is no such config; see the folder configs."),
        (
            ("--config=configs/nobodys.py", "--config.seed=1"),
            "configs/nobodys.py: there is no such config; see the folder configs.",
        ),
        (
            ("--config=configs/quickstart.py", "--config.num_steps=0"),
            "num_steps is 0; give 1 or more.",
        ),
        (
            ("--config=configs/synthetic_unsupervised.py:wrong",),
            "there is no recipe 'wrong'; choose alexnet or compact. (--help lists all flags.)",
        ),
    ],
    ids=["field", "typo", "file", "file of fields", "steps", "recipe"],
)
def test_what_a_config_lacks_is_one_sentence(tmp_path, arguments, sentence):
    command = [sys.executable, "main.py", *arguments, f"--workdir={tmp_path}"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {sentence}\n"
