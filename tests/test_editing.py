"""Edits of codes, each against what the face or the light then does."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.spatial.transform as transform

import mofa_jax
from mofa_jax import editing
from mofa_jax.errors import InputError
from mofa_jax.illumination import environment_light, front_mean, with_ambient

repose, pose_angles, morph = map(jax.jit, (editing.repose, editing.pose_angles, editing.morph))


@pytest.fixture(scope="module")
def two(tiny_model):
    """Two random codes."""
    size = mofa_jax.params.code_size(tiny_model)
    codes = 0.4 * jax.random.normal(jax.random.key(0), (2, size))
    return tuple(mofa_jax.FaceParams.from_code(code, tiny_model) for code in codes)


def directions_of(height):
    """The directions [H, 2 H, 3] that an equirectangular picture's pixels show, and their solid
    angles [H, 2 H], from the words of the docstring."""
    rows, columns = np.mgrid[:height, : 2 * height] + 0.5
    below_zenith, right = np.pi * rows / height, 2 * np.pi * (columns / (2 * height) - 0.5)
    radius = np.sin(below_zenith)
    directions = [radius * np.sin(right), np.cos(below_zenith), -radius * np.cos(right)]
    return np.stack(directions, -1), radius * np.pi / height * 2 * np.pi / (2 * height)


def irradiance(panorama, normals):
    """1/pi times the integral of L max(0, n . d) over all directions, [N, 3], by summation."""
    directions, solid_angle = directions_of(len(panorama))
    cosine = np.maximum(np.einsum("nk,hwk->nhw", normals, directions), 0)
    return np.einsum("nhw,hw,hwc->nc", cosine, solid_angle, panorama) / np.pi


def random_panorama(height=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(height, 2 * height, 3)) ** 8 + 0.05


def light_at(light, normals):
    return oracle.sh(normals) @ np.asarray(light, np.float64)


def normals_of_sphere(count, seed=1):
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_an_environment_has_the_bands_of_its_numerically_integrated_irradiance():
    panorama = random_panorama()
    normals, weights = directions_of(24)
    normals, weights = normals.reshape(-1, 3), weights.ravel() / (4 * np.pi)
    shone = irradiance(panorama, normals)
    expected = oracle.sh(normals).T @ (weights[:, None] * shone)  # the bands are orthonormal
    light = environment_light(jnp.asarray(panorama, jnp.float32))
    np.testing.assert_allclose(light, expected, atol=3e-3)


def test_a_soft_environment_lights_as_its_integral():
    directions, _ = directions_of(64)
    panorama = 1 + 0.5 * oracle.sh(directions.reshape(-1, 3))[:, 1:4].reshape(64, 128, 3)
    light = environment_light(jnp.asarray(panorama, jnp.float32))
    normals = normals_of_sphere(50)
    np.testing.assert_allclose(light_at(light, normals), irradiance(panorama, normals), atol=2e-3)


def test_a_white_environment_is_ambient_light():
    light = environment_light(jnp.ones((64, 128, 3)))
    np.testing.assert_allclose(light, editing.named_light("ambient"), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "brightest"),
    [
        ("left", [-1, 0, 0]),
        ("right", [1, 0, 0]),
        ("above", [0, 1, 0]),
        ("below", [0, -1, 0]),
        ("front", [0, 0, 1]),
    ],
)
def test_a_named_light_comes_from_where_it_says(two, name, brightest):
    relit = editing.relight(two[0], editing.named_light(name))
    sides = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1.0]])
    shone = light_at(with_ambient(relit.illumination), sides).mean(axis=1)
    np.testing.assert_array_equal(sides[np.argmax(shone)], brightest)


def test_a_relit_face_is_as_bright_and_of_the_color_that_it_was(two):
    light = editing.named_light("left") * 3.7
    before = two[0].replace(illumination=0.3 * two[0].illumination)
    after = editing.relight(before, light)
    front = normals_of_sphere(200_000)
    front = front[front[:, 2] > 0]
    means = [light_at(with_ambient(p.illumination), front).mean(axis=0) for p in (before, after)]
    np.testing.assert_allclose(means[1], means[0], atol=0.01)
    np.testing.assert_allclose(front_mean(with_ambient(before.illumination)), means[0], atol=0.01)
    for name in ("shape", "expression", "reflectance", "rotation", "translation"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_code_of_a_clip_which_is_numpys_is_relit(two):
    light = editing.named_light("left")
    relit = editing.relight(jax.tree.map(np.asarray, two[0]), light)
    np.testing.assert_array_equal(relit.illumination, editing.relight(two[0], light).illumination)


def test_an_unknown_light_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="'disco'; choose one of ambient, front"):
        editing.named_light("disco")


def test_the_head_turns_where_the_angles_say(two, tiny_model):
    """The face's direction, z of the world, and its top, in camera space."""
    for angles, direction, up in (
        ([0.5, 0, 0], [-np.sin(0.5), 0, np.cos(0.5)], [0, 1, 0]),
        ([0, 0.5, 0], [0, np.sin(0.5), np.cos(0.5)], None),
        ([0, 0, 0.5], [0, 0, 1], [np.sin(0.5), np.cos(0.5), 0]),
    ):
        turned = repose(two[0], jnp.array(angles))
        to_camera = np.linalg.inv(oracle.rotation(turned.rotation))
        np.testing.assert_allclose(to_camera @ [0, 0, 1], direction, atol=1e-6)
        if up is not None:
            np.testing.assert_allclose(to_camera @ [0, 1, 0], up, atol=1e-6)


def test_angles_and_pose_are_inverse(two):
    angles = pose_angles(two[0])
    np.testing.assert_allclose(repose(two[0], angles).rotation, two[0].rotation, atol=1e-6)
    small = two[0].replace(rotation=jnp.array([0.001, 0.002, -0.003]))
    np.testing.assert_allclose(pose_angles(small), [0.002, 0.001, -0.003], atol=1e-5)


def test_how_far_a_head_turns_does_not_depend_on_where_it_was(two):
    for face in two:
        turned = repose(face, pose_angles(face).at[0].add(0.4))
        assert float(editing.turn_between(face, turned)) == pytest.approx(0.4, abs=1e-5)
        assert float(editing.turn_between(face, face)) < 1e-3


def test_a_morph_goes_from_the_one_to_the_other(two):
    codes = [face.to_code() for face in two]
    for t, code in zip((0.0, 1.0), codes, strict=True):
        np.testing.assert_allclose(morph(*two, t).to_code(), code, atol=1e-6)
    middle = morph(*two, 0.25)
    for name in ("shape", "expression", "reflectance", "translation", "illumination"):
        expected = 0.75 * getattr(two[0], name) + 0.25 * getattr(two[1], name)
        np.testing.assert_allclose(getattr(middle, name), expected, atol=1e-6)


def test_a_morph_turns_the_shortest_way_at_one_speed(two):
    """Also where the axis-angle vectors' mean is another turn: half a turn left and right meet at
    the back of the head."""
    ends = [[0.3, 2.9, 0.1], [-0.1, -2.9, 0.2]]
    faces = [face.replace(rotation=jnp.array(w)) for face, w in zip(two, ends, strict=True)]
    slerp = transform.Slerp([0, 1], transform.Rotation.from_rotvec(ends))
    for t in (0.0, 0.3, 0.5, 1.0):
        expected = slerp(t).as_matrix()
        np.testing.assert_allclose(oracle.rotation(morph(*faces, t).rotation), expected, atol=2e-6)


def test_expression_and_identity_are_apart(two, tiny_model):
    transferred = editing.transfer_expression(*two)
    np.testing.assert_array_equal(transferred.expression, two[1].expression)
    np.testing.assert_array_equal(transferred.shape, two[0].shape)
    drawn = editing.exaggerate(two[0], shape=1.5, expression=0.0)
    m = oracle.model_arrays(tiny_model)
    expected = m["mean_shape"] + 1.5 * m["shape_basis"] @ np.asarray(two[0].shape, np.float64)
    geometry = tiny_model.geometry(drawn.shape, drawn.expression)
    np.testing.assert_allclose(geometry, expected, atol=1e-5)
    np.testing.assert_array_equal(drawn.reflectance, two[0].reflectance)


def test_edits_are_compiled_batched_and_have_gradients(two):
    def all_edits(face):
        face = editing.relight(face, editing.named_light("left"))
        face = editing.repose(face, editing.pose_angles(face) + 0.1)
        return editing.morph(editing.exaggerate(face, shape=1.5), two[1], 0.3).to_code().sum()

    batch = jax.tree.map(lambda *fields: jnp.stack(fields), *two)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(all_edits)))(batch)
    assert values.shape == (2,) and values[0] != values[1]
    assert np.isfinite(gradients.to_code()).all() and (gradients.expression == 0.7).all()
