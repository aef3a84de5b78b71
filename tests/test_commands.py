"""The console commands, and the lists of packages behind them."""

import errno
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from mofa_jax import commands, extras
from mofa_jax.errors import InputError, errors_as_sentences

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_each_command_runs_the_module_of_its_name(monkeypatch):
    ran = []
    monkeypatch.setattr(commands.runpy, "run_module", lambda name, **_: ran.append(name))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for command, target in PROJECT["project"]["scripts"].items():
        module, _, function = target.partition(":")
        assert module == "mofa_jax.commands"
        getattr(commands, function)()
        assert ran[-1] == f"mofa_jax.{command.removeprefix('mofa-').replace('-', '_')}"
        assert importlib.util.find_spec(ran[-1]) is not None


def test_each_extra_is_a_list_that_setuptools_can_read():
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    lists = {"base": dynamic["dependencies"], **dynamic["optional-dependencies"]}
    for extra, listed in lists.items():
        (file,) = listed["file"]
        assert file == f"requirements-{extra}.txt"
        assert "-r " not in (ROOT / file).read_text()  # which setuptools does not follow


def test_optional_packages_are_added_from_a_checkout_and_from_an_installed_package(monkeypatch):
    assert extras.install_command("viewer") == "pip install -r requirements-viewer.txt"
    monkeypatch.setattr(extras, "_CHECKOUT", Path("/no/checkout"))
    assert extras.install_command("viewer") == 'pip install "mofa_jax[viewer]"'


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyboardInterrupt(), "Stopped"),
        (InputError("a: wrong."), "error: a: wrong"),
        (OSError(errno.ENOSPC, "No space left"), r"error: out: cannot be written \(No space left"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a folder", "a/b"),
            "error: a/b: this is a file, or below one; give a folder",
        ),
        (OSError("Timed out\nafter 5 s"), "error: Timed out after 5 s"),
    ],
)
def test_what_ends_a_command_is_one_sentence(error, sentence):
    with pytest.raises(SystemExit, match=f"^{sentence}"), errors_as_sentences("out"):
        raise error


def test_ctrl_c_says_how_a_command_goes_on():
    with pytest.raises(SystemExit, match=r"^Go on$"), errors_as_sentences("out", "Go on"):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_console_command_reads_the_configs_of_the_working_directory(tmp_path):
    (tmp_path / "photographs").mkdir()
    image = pictures.astronaut()[0:320, 60:380]
    for number in range(4):
        path = tmp_path / "photographs" / f"{number}.jpg"
        Image.fromarray(np.roll(image, 7 * number, axis=1)).save(path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mofa_jax").symlink_to(ROOT / "mofa_jax")
    # -P: as in an installed command, modules are not looked for in the working directory.
    script = "from mofa_jax.commands import prepare_corpus; prepare_corpus()"
    flags = ("--config=configs/corpora/folder.py", f"--output={tmp_path / 'corpus'}")
    flags += (f"--config.source.path={tmp_path / 'photographs'}", "--num_workers=2")
    flags += ("--config.landmarks.detector=none", "--config.eval_fraction=0.5")
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *flags],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "corpus" / "dataset_info.json").is_file()
