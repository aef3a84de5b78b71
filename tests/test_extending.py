"""The recipes of docs/extending.md are followed in a copy of the repository, and work."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from mofa_jax.face_models.analytic import analytic_face

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)


def apply(block: str, folder: Path) -> None:
    """Follows one block: its first line names a new file, or a file and the line before it."""
    first, _, body = block.partition("\n")
    place = re.fullmatch(r"# (\S+?)(?:, behind: (.*))?", first)
    path = folder / place[1]
    if place[2] is None:
        assert not path.exists()
        path.write_text(body)
        return
    text = path.read_text()
    assert text.count(place[2]) == 1, f"{place[1]} has not one line {place[2]!r}"
    if body.startswith("def "):  # a function stands before the one that is quoted
        text = text.replace(place[2], f"{body}\n\n{place[2]}")
    else:
        text = text.replace(place[2], f"{place[2]}\n{body.rstrip()}")
    path.write_text(text)


def write_inputs(folder: Path) -> None:
    """What the page's commands read: a model in meters, photographs of two people."""
    arrays = analytic_face(resolution=21, num_shape=3, num_expression=3, num_reflectance=3)
    lengths = ("mean_shape", "shape_basis", "expression_basis")
    np.savez(folder / "model.npz", **{k: v * 0.1 if k in lengths else v for k, v in arrays.items()})
    (folder / "photographs").mkdir()
    for person in ("ann", "bob", "cleo", "dan"):
        for number in range(2):
            image = np.roll(pictures.astronaut()[0:320, 60:380], 7 * number, axis=1)
            Image.fromarray(image).save(folder / "photographs" / f"{person}-{number}.jpg")


@pytest.mark.slow
def test_every_recipe_works_as_written(tmp_path):
    for name in ("mofa_jax", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "main.py", tmp_path)
    write_inputs(tmp_path)
    commands = []
    for language, body in BLOCKS.findall((ROOT / "docs/extending.md").read_text()):
        if language == "python":
            apply(body, tmp_path)
        else:
            commands.append(shlex.split(body))
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs/extended/checkpoints/2").is_dir()
    assert (tmp_path / "imported.npz").is_file()
    assert (tmp_path / "corpora/people/dataset_info.json").is_file()
