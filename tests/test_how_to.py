"""The Python of the how-to pages runs as it stands there, and commands can be pasted."""

import ast
import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image

import mofa_jax
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.results.parameter_file import save_parameters

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHORT = {"cam, 2048)": "cam, 256)", "num_steps=20": "num_steps=2"}
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages read: photographs, and parameters of one of them."""
    folder, portrait = tmp_path_factory.mktemp("how_to"), skimage.data.astronaut()[:320, 60:400]
    for shift, name in enumerate(("photo", "monday", "tuesday", "sunday")):
        Image.fromarray(np.roll(portrait, 5 * shift, axis=1)).save(folder / f"{name}.jpg")
    predict = mofa_jax.load_for_inference()
    (face,) = predict.photographs(folder / "photo.jpg")
    (folder / "out").mkdir()
    save_parameters(folder / "out" / "photo.0.json", predict.saved(face, folder / "photo.jpg"))
    return folder


@pytest.fixture
def follow(folder, monkeypatch):
    """Runs the Python of a page, and gives the names that it has defined."""
    monkeypatch.chdir(folder)

    def run(page: str, **names):
        code = "\n".join(BLOCK.findall((DOCS / "how_to" / page).read_text()))
        assert code
        for long, short in SHORT.items():
            code = code.replace(long, short)
        exec(code, names)
        return names

    return run


@pytest.mark.slow
def test_textures(follow, folder):
    names = follow("textures.md")
    mesh = trimesh.load(folder / "face.glb", force="mesh", process=False)
    assert mesh.visual.material.baseColorTexture.size == (256, 256)
    assert names["albedo"].shape == mesh.vertices.shape
    np.testing.assert_allclose(mesh.vertices, names["vertices"] / 10, atol=1e-5)  # meters


@pytest.mark.slow
def test_back_to_the_original_image(follow, folder):
    names = follow("original_image.md")
    photograph, depth, points = (names[name] for name in ("photograph", "depth", "points"))
    assert not depth[0].any()  # the crop's upper edge cuts the face's, and is not drawn out
    assert read_photograph(folder / "overlay.png").shape == photograph.shape
    x, y, width, height = names["saved"].box
    assert (abs(points[names["model"].landmarks[30]] - [x + width / 2, y + height / 2]) < 15).all()
    # The tip of the nose is nearest, and the map of depths is least where it is.
    vertices = np.asarray(names["rendering"].vertices)
    inside = cv2.erode((depth > 0).astype(np.uint8), np.ones((9, 9)))  # not at the soft edge
    within = np.where(inside, depth, np.inf)
    assert abs(within.min() + vertices[:, 2].max()) < 0.02
    row, column = np.unravel_index(within.argmin(), depth.shape)
    tip = points[vertices[:, 2].argmax()]
    np.testing.assert_allclose([column + 0.5, row + 0.5], tip, atol=1.5)


@pytest.mark.slow
def test_several_photographs_of_one_person(follow):
    person = follow("one_person.md")["person"]
    assert person.energy[-1] < 0.9 * person.energy[0]
    np.testing.assert_array_equal(person.params.shape[0], person.params.shape[2])
    assert (person.params.rotation[0] != person.params.rotation[2]).any()


@pytest.mark.slow
def test_codes_of_many_photographs(follow, folder):
    names = follow("million_photographs.md", paths=sorted(folder.glob("*day.jpg")))
    with np.load(folder / "part.npz") as saved:
        params = mofa_jax.FaceParams.from_code(saved["codes"], names["predict"].model)
        assert params.rotation.shape == (3, 3) and "monday" in saved["source"][0]


def commands(path: Path) -> list[str]:
    """What a page, or the docstring of a module, gives to be pasted into a shell."""
    text = path.read_text()
    if path.suffix == ".md":
        return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return re.findall(r"^ *python .*(?:\n +-.*)*", ast.get_docstring(ast.parse(text)), re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [
        DOCS.parent / "README.md",
        *sorted(DOCS.rglob("*.md")),
        *sorted((DOCS.parent / "configs").rglob("*.py")),
    ],
    ids=lambda path: str(path.relative_to(DOCS.parent)),
)
def test_commands_that_go_on_in_the_next_line_can_be_pasted(path):
    for command in commands(path):
        for line, following in itertools.pairwise(command.splitlines()):
            assert line.endswith("\\") or not re.match(r"\s+-", following), (line, following)
