"""Edited photographs: every pixel comes from where its piece of skin was, in the light's ratio."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from test_parameter_file import saved_face

import mofa_jax
from mofa_jax import editing
from mofa_jax.editing import repaint
from mofa_jax.editing.repaint import edited_photograph, morphed_photograph
from mofa_jax.reconstruction.pictured_face import PicturedFace
from mofa_jax.renderer import compiled_render

SCALE, LEFT, TOP = 1.3, 30.0, 20.0
HEIGHT, WIDTH = 200, 220


@pytest.fixture(scope="module")
def cam():
    return mofa_jax.Camera().scaled(0.5)


@pytest.fixture(scope="module")
def place(tiny_model, cam):
    """Makes a face of a photograph: the zero code, where the affine map puts it."""

    def make(photograph, **changes):
        params = mofa_jax.FaceParams.neutral(tiny_model).replace(**changes)
        affine = np.array([[SCALE, 0.0, LEFT], [0.0, SCALE, TOP]])
        saved = dataclasses.replace(
            saved_face(tiny_model.code_sizes), params=params, cam=cam, crop_to_photograph=affine
        )
        return PicturedFace(saved, photograph)

    return make


@pytest.fixture(scope="module")
def inner(tiny_model, cam, place):
    """Rows and columns of the photograph well inside the zero code's face."""
    _, mask = mofa_jax.rasterize(
        compiled_render(place(None).params, tiny_model, cam), tiny_model, cam
    )
    rows, columns = np.nonzero(np.asarray(mask))
    centre = np.array([rows.mean() * SCALE + TOP, columns.mean() * SCALE + LEFT]).astype(int)
    reach = int(0.25 * np.ptp(columns) * SCALE)
    return tuple(slice(c - reach, c + reach) for c in centre)


def coordinates():
    """Red is the column, green the row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns, rows, np.full_like(rows, 50)], axis=-1).astype(np.uint8)


def test_an_unchanged_code_leaves_the_photograph_to_the_bit(place, tiny_model):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    face = place(noise, rotation=jnp.array([0.1, 0.3, 0.0]))
    np.testing.assert_array_equal(edited_photograph(face, face.params, tiny_model), noise)


def test_a_moved_face_takes_its_pixels_along(place, tiny_model, cam, inner):
    face = place(coordinates())
    moved = face.params.replace(translation=jnp.array([-0.1, 0.06, 0.0]))
    shift = SCALE * cam.focal / cam.distance * np.array([0.1, 0.06])  # px, right and down
    edited = edited_photograph(face, moved, tiny_model).astype(float)
    before = coordinates().astype(float)
    change = (edited - before)[inner][..., :2].reshape(-1, 2)
    np.testing.assert_allclose(change.mean(axis=0), -shift, rtol=0.1)
    np.testing.assert_array_equal(edited[0], before[0])
    np.testing.assert_array_equal(edited[:, :10], before[:, :10])


def test_a_relit_face_changes_by_the_ratio_of_the_lights(place, tiny_model, inner):
    dark = np.random.default_rng(0).integers(10, 30, (HEIGHT, WIDTH, 3), np.uint8)
    face = place(dark)
    factors = np.array([1.5, 1.0, 0.5])  # of red, green, blue
    light = 0.7 * factors[None] * np.eye(9)[:, :1] - 0.7 * np.eye(9)[:, :1]
    relit = face.params.replace(illumination=jnp.asarray(light, jnp.float32))
    edited = edited_photograph(face, relit, tiny_model).astype(float)
    ratio = edited[inner].sum((0, 1)) / dark[inner].sum((0, 1))
    np.testing.assert_allclose(ratio / ratio.max(), factors / 1.5, rtol=0.02)  # the hue
    np.testing.assert_allclose(ratio, factors, rtol=0.05)
    np.testing.assert_array_equal(edited[:, :10], dark[:, :10])


def test_what_gets_brighter_nears_white_and_keeps_its_hue(place, tiny_model, inner):
    bright = np.full((HEIGHT, WIDTH, 3), [240, 120, 60], np.uint8)
    face = place(bright)
    light = jnp.zeros((9, 3)).at[0].set(1.4)  # three times as bright
    edited = edited_photograph(face, face.params.replace(illumination=light), tiny_model)
    color = edited[inner].reshape(-1, 3).astype(float)
    assert (color[:, 0] > 248).all()
    np.testing.assert_allclose(color[:, 1] / color[:, 0], 0.5, atol=0.01)


def test_what_was_hidden_has_the_models_colors_in_the_photographs_tone(place, tiny_model, cam):
    gray = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    face = place(gray, rotation=jnp.array([0.0, 0.7, 0.0]))
    after = editing.repose(face.params, jnp.array([-0.5, 0.0, 0.0]))
    edited = edited_photograph(face, after, tiny_model).astype(float)
    _, mask = mofa_jax.rasterize(compiled_render(after, tiny_model, cam), tiny_model, cam)
    share = (edited < 250).any(axis=-1).sum() / (np.asarray(mask).sum() * SCALE**2)
    assert share == pytest.approx(1, abs=0.1)  # the whole face, and nothing else
    inside = edited[(edited < 250).any(axis=-1)]
    assert np.median(inside) == pytest.approx(90, abs=12)
    assert np.quantile(inside, 0.05) > 40 and np.quantile(inside, 0.9) < 140


def test_what_was_hidden_of_a_bright_face_is_white_at_most(place, tiny_model):
    shades = np.linspace(0.7, 1.4, tiny_model.num_vertices, dtype=np.float32)
    spotted = tiny_model.replace(mean_reflectance=jnp.repeat(shades[:, None], 3, axis=1))
    bright = np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
    face = place(bright, rotation=jnp.array([0.0, 0.7, 0.0]))
    after = editing.repose(face.params, jnp.array([0.4, 0.0, 0.0]))
    assert edited_photograph(face, after, spotted).min() > 100  # nothing has wrapped to black


def test_a_morph_dissolves_one_skin_into_the_other(place, tiny_model, inner):
    red, blue = (np.full((HEIGHT, WIDTH, 3), c, np.uint8) for c in ([100, 0, 0], [0, 0, 100]))
    face, other = place(red), place(blue)
    for share in (0.0, 0.3, 1.0):
        picture = morphed_photograph(face, other, face.params, share, tiny_model)
        expected = [100 * (1 - share), 0, 100 * share]
        np.testing.assert_allclose(picture[inner].mean((0, 1)), expected, atol=1)
        np.testing.assert_array_equal(picture[:, :10], red[:, :10])


def test_a_morph_goes_on_below_the_other_photographs_edge(place, tiny_model, inner, monkeypatch):
    monkeypatch.setattr(repaint, "_BAND", 16)  # the last ones lie below all that is there
    red, blue = (np.full((HEIGHT, WIDTH, 3), c, np.uint8) for c in ([100, 0, 0], [0, 0, 100]))
    face, other = place(red), place(blue[:60])
    picture = morphed_photograph(face, other, face.params, 1.0, tiny_model)
    np.testing.assert_allclose(picture[inner].mean((0, 1)), [0, 0, 100], atol=1)


def test_a_face_at_the_photographs_border_is_painted_as_far_as_it_goes(place, tiny_model):
    face = place(coordinates()[:, :90])
    light = jnp.zeros((9, 3)).at[0].set(-0.3)
    edited = edited_photograph(face, face.params.replace(illumination=light), tiny_model)
    assert edited.shape == (HEIGHT, 90, 3)
    assert (edited[80:120, 80:] < face.photograph[80:120, 80:]).any()
