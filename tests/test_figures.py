"""Pictures for people: every panel shows what its name says, overlays land where they belong."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import mofa_jax
from mofa_jax import figures

SIZE = 60


@pytest.fixture(scope="module")
def cam():
    return mofa_jax.Camera().scaled(SIZE / 240)


@pytest.fixture(scope="module")
def photographs():
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def params(tiny_model):
    """The zero code, and a random one."""
    code = 0.2 * jax.random.normal(jax.random.key(0), (2, mofa_jax.params.code_size(tiny_model)))
    return mofa_jax.FaceParams.from_code(code.at[0].set(0.0), tiny_model)


@pytest.fixture(scope="module")
def neutral(params):
    return jax.tree.map(lambda x: x[0], params)


@pytest.fixture(scope="module")
def panels(photographs, neutral, tiny_model, cam):
    """The zero code's five panels, [5, H, W, 3]."""
    picture = figures.five_panels(photographs[0], neutral, tiny_model, cam)
    assert picture.dtype == np.uint8 and picture.shape == (SIZE, 5 * SIZE, 3)
    return np.stack(np.split(picture, 5, axis=1)).astype(int)


@pytest.fixture(scope="module")
def mask(neutral, tiny_model, cam):
    rendering = jax.jit(mofa_jax.render)(neutral, tiny_model, cam)
    return np.asarray(mofa_jax.rasterize(rendering, tiny_model, cam, supersample=2)[1])


def test_letters_that_the_font_lacks_become_those_that_it_has():
    def line(text):
        return figures._text_line([text], 200)

    np.testing.assert_array_equal(line("Übergrößé"), line("Ubergro?e"))
    np.testing.assert_array_equal(line("张三 Ł"), line("?? ?"))


def test_the_first_panel_is_the_photograph(panels, photographs):
    np.testing.assert_array_equal(panels[0], photographs[0])


def test_around_the_face_is_the_photograph_or_white(panels, photographs, mask):
    outside = mask == 0
    np.testing.assert_array_equal(panels[1][outside], photographs[0][outside])
    np.testing.assert_array_equal(panels[2:, outside], 255)


def test_the_zero_code_is_its_reflectance_under_even_light(panels, mask):
    inside = mask == 1
    np.testing.assert_allclose(panels[1][inside], 0.7 * panels[3][inside], atol=1.01)
    np.testing.assert_allclose(panels[4][inside], 255 * 0.7 * figures._GRAY, atol=0.51)


def test_the_geometry_shows_neither_light_nor_reflectance(
    panels, neutral, photographs, tiny_model, cam
):
    other = neutral.replace(
        illumination=neutral.illumination + 0.1, reflectance=neutral.reflectance + 1.0
    )
    changed = figures.five_panels(photographs[0], other, tiny_model, cam)
    changed = np.stack(np.split(changed, 5, axis=1))
    np.testing.assert_array_equal(changed[2], panels[2])
    assert all((changed[k] != panels[k]).any() for k in (1, 3, 4))


def test_floating_point_photographs_give_the_same(photographs, neutral, tiny_model, cam, panels):
    picture = figures.five_panels(photographs[0] / 255.0, neutral, tiny_model, cam)
    np.testing.assert_array_equal(np.stack(np.split(picture, 5, axis=1)), panels)


def test_a_photograph_of_another_size_is_refused(neutral, tiny_model, cam):
    with pytest.raises(ValueError, match="do not fit the camera's image size"):
        figures.five_panels(np.zeros((50, 60, 3), np.uint8), neutral, tiny_model, cam)


def test_a_grid_holds_the_panels_of_each_face_under_a_header(
    photographs, params, tiny_model, cam, panels
):
    grid = figures.panels_grid(photographs, params, tiny_model, cam)
    header = grid.shape[0] - 2 * SIZE
    assert grid.dtype == np.uint8 and grid.shape[1] == 5 * SIZE and 10 < header < 40
    np.testing.assert_array_equal(grid[header : header + SIZE], np.concatenate(panels, axis=1))
    assert all((part < 128).any() for part in np.split(grid[:header], 5, axis=1))


def test_a_contact_sheet_fills_up_with_white_and_names_its_rows():
    rows = [np.zeros((10, 40, 3), np.uint8), np.full((20, 30, 3), 7, np.uint8)]
    plain = figures.contact_sheet(rows)
    assert plain.shape == (30, 40, 3)
    assert (plain[10:, 30:] == 255).all() and (plain[10:, :30] == 7).all()
    named = figures.contact_sheet(rows, labels=["one", "two"], header=["left", "right"])
    line = (named.shape[0] - 30) // 3
    np.testing.assert_array_equal(named[2 * line : 2 * line + 10], rows[0])
    texts = [named[:line], named[line : 2 * line], named[2 * line + 10 : 3 * line + 10]]
    assert all((text < 128).any() for text in texts)


def test_an_overlay_of_the_crop_itself_is_the_overlay_panel(
    photographs, neutral, tiny_model, cam, panels
):
    overlay = figures.overlay_on_photograph(photographs[0], np.eye(2, 3), neutral, tiny_model, cam)
    np.testing.assert_allclose(overlay.astype(int), panels[1], atol=2)


@pytest.mark.parametrize(
    "affine",
    [
        [[2.5, 0.0, 40.3], [0.0, 2.5, 21.8]],
        [[0.4, 0.0, 90.2], [0.0, 0.4, 50.7]],
        [[1.5, -0.9, 100.0], [0.9, 1.5, 20.0]],
        [[6.0, 0.0, -60.0], [0.0, 6.0, -90.0]],  # beyond the photograph on all sides
    ],
)
def test_an_overlay_lands_where_the_crop_came_from(affine, neutral, tiny_model, cam, mask):
    affine = np.array(affine)
    photograph = np.full((220, 280, 3), 255, np.uint8)
    before = photograph.copy()
    overlay = figures.overlay_on_photograph(photograph, affine, neutral, tiny_model, cam)
    np.testing.assert_array_equal(photograph, before)
    rows, columns = np.mgrid[:220, :280]
    points = np.stack([columns, rows], -1) + 0.5 - affine[:, 2]
    points = points @ np.linalg.inv(affine[:, :2]).T  # in the crop
    # Where the mask is the same two pixels around, in the crop and in the photograph, all is clear.
    reach = 2 * max(1, 1 / np.linalg.norm(affine[:, 0]))
    around = reach * np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
    covers = np.stack([_nearest_or_zero(mask, points + shift) for shift in around])
    changed = (overlay != 255).all(-1)
    assert covers.min(axis=0).any()
    assert changed[covers.min(axis=0) == 1].all()
    assert not changed[covers.max(axis=0) == 0].any()


def _nearest_or_zero(mask, points):
    column, row = np.moveaxis(np.floor(points).astype(int), -1, 0)
    inside = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
    return np.where(inside, mask[row.clip(0, SIZE - 1), column.clip(0, SIZE - 1)], 0.0)


def test_an_overlay_off_the_photograph_changes_nothing(photographs, neutral, tiny_model, cam):
    affine = np.array([[1.0, 0.0, 500.0], [0.0, 1.0, 0.0]])
    overlay = figures.overlay_on_photograph(photographs[0], affine, neutral, tiny_model, cam)
    np.testing.assert_array_equal(overlay, photographs[0])


def test_landmarks_are_drawn_where_they_are():
    image = np.zeros((40, 50, 3), np.uint8)
    points = np.array([[12.5, 20.5], [33.25, 11.75], [25.0, 30.0], [np.nan, 3.0], [1e9, 0.0]])
    drawn = figures.draw_landmarks(image, points, np.array([1.0, 0.5, 0.0, 1.0, 1.0]))
    assert not image.any()
    green = drawn[..., 1].astype(float)
    for (x, y), columns in ((points[0], slice(0, 25)), (points[1], slice(25, 50))):
        part = np.zeros_like(green)
        part[:, columns] = green[:, columns]
        rows, cols = np.mgrid[:40, :50] + 0.5
        center = [(part * cols).sum() / part.sum(), (part * rows).sum() / part.sum()]
        np.testing.assert_allclose(center, [x, y], atol=0.3)
    assert not green[26:].any()


def test_pictures_are_written_whole_and_read_back(tmp_path, photographs):
    figures.write_image(tmp_path / "face.png", photographs[0])
    figures.write_image(str(tmp_path / "face.jpg"), jnp.asarray(photographs[0]))
    with Image.open(tmp_path / "face.png") as png, Image.open(tmp_path / "face.jpg") as jpg:
        np.testing.assert_array_equal(np.asarray(png), photographs[0])
        assert jpg.size == (SIZE, SIZE) and jpg.format == "JPEG"
    assert sorted(os.listdir(tmp_path)) == ["face.jpg", "face.png"]


def test_an_unknown_picture_format_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"face\.xyz.*no image format"):
        figures.write_image(tmp_path / "face.xyz", np.zeros((4, 4, 3), np.uint8))
    assert not os.listdir(tmp_path)
