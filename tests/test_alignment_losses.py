"""The losses that see where a face lies, against NumPy in float64 and on moved and scaled faces."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from face_files import as_dtype

import mofa_jax
from configs import compact
from mofa_jax import losses
from mofa_jax.autoencoder import Decoder, objective
from mofa_jax.params import code_size
from mofa_jax.patches import surface_patches
from mofa_jax.renderer import compiled_render, limit_geometry_gradient

CAM = mofa_jax.Camera()


def scene(model, seed=0):
    """A random face of `model` and a random smooth photograph."""
    rng = np.random.default_rng(seed)
    code = 0.5 * rng.normal(size=code_size(model))
    code[-33:] = 0.2 * rng.normal(size=33)
    params = mofa_jax.FaceParams.from_code(jnp.asarray(code), model)
    coarse = rng.uniform(size=(14, 14, 3))
    image = np.asarray(jax.image.resize(coarse, (240, 240, 3), "cubic"))
    return params, compiled_render(params, model, CAM), np.clip(image, 0, 1)


def test_area_photometric_equals_a_numpy_sum(tiny_model, float64):
    _, out, image = scene(as_dtype(tiny_model, np.float64))
    value = jax.jit(losses.area_photometric)(out, jnp.asarray(image), 0.2)
    color, screen = np.asarray(out.color), np.asarray(out.screen)
    distance = np.linalg.norm(oracle.bilinear(image, screen) - color, axis=1)
    inside = ((screen >= 0) & (screen <= 240)).all(axis=1)
    area = np.where(inside, np.asarray(out.area), 0)
    expected = (area * (np.minimum(distance, 0.2) - 0.2)).sum() / 240**2
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("factor", [1.0, 3.0, 30.0, 1e4])
def test_the_area_term_is_bounded_however_near_a_face_comes(tiny_model, factor):
    params, _, image = scene(tiny_model)
    params = shrunk(params.replace(translation=0 * params.translation), factor)
    out = compiled_render(params, tiny_model, CAM)
    assert -0.1 <= losses.area_photometric(out, jnp.asarray(image, jnp.float32), 0.1) <= 0


def test_patch_correlation_equals_numpys_weighted_correlation(tiny_model, float64):
    _, out, image = scene(as_dtype(tiny_model, np.float64))
    patches = np.asarray(surface_patches(tiny_model, 6))
    value = jax.jit(losses.patch_correlation)(out, jnp.asarray(image), jnp.asarray(patches))
    seen = oracle.bilinear(image, np.asarray(out.screen)).mean(1)
    drawn, front = np.asarray(out.color).mean(1), np.asarray(out.front_facing)
    total = shares = 0.0
    for patch in patches:
        weight = front[patch]
        if weight.any():
            correlation = np.corrcoef(seen[patch][weight], drawn[patch][weight])[0, 1]
            total += weight.mean() * (1 - correlation)
            shares += weight.mean()
    np.testing.assert_allclose(value, total / shares, rtol=1e-2)  # a flat patch counts as such


def test_patches_cover_the_face_and_repeat(tiny_model):
    patches = np.asarray(surface_patches(tiny_model))
    np.testing.assert_array_equal(patches, surface_patches(tiny_model))
    points = np.asarray(tiny_model.mean_shape)
    spread = np.linalg.norm(points[patches] - points[patches].mean(1, keepdims=True), axis=-1)
    assert spread.mean() < 0.2 * np.linalg.norm(points - points.mean(0), axis=-1).mean() + 0.1
    assert len(set(patches.ravel())) > 0.5 * len(points)


def shrunk(params, factor):
    """A face seen from farther away, so that it is drawn `factor` times as large."""
    distance = CAM.distance / factor - CAM.distance
    return params.replace(translation=params.translation.at[2].set(distance))


@pytest.mark.parametrize("name", ["area_photometric", "patch_correlation"])
def test_alignment_losses_are_least_for_a_face_of_the_photographs_size(name):
    model = mofa_jax.load_face_model("open")
    params = mofa_jax.FaceParams.neutral(model)
    image, mask = mofa_jax.rasterize(compiled_render(params, model, CAM), model, CAM)
    image = image + (1 - mask[..., None]) * jnp.array([[[0.1, 0.15, 0.2]]])
    more = {"patch_correlation": (surface_patches(model),), "area_photometric": ()}[name]
    loss = jax.jit(
        lambda params: getattr(losses, name)(mofa_jax.render(params, model, CAM), image, *more)
    )
    sizes = (0.9, 0.95, 1.0, 1.05, 1.1)
    values = [float(loss(shrunk(params, size))) for size in sizes]
    assert np.argmin(values) == 2, values


def test_closure_compares_how_far_lids_and_lips_are_apart_wherever_they_lie(tiny_model, float64):
    model = as_dtype(tiny_model, np.float64)
    model = model.replace(landmarks=model.landmarks.at[43].set(-1))
    _, out, _ = scene(model)
    rng = np.random.default_rng(1)
    drawn = np.asarray(out.screen)[np.asarray(model.landmarks)]
    confidence = rng.uniform(0.2, 1, 68)
    points = drawn + rng.normal(size=(68, 2))
    points[66], confidence[66] = np.nan, 0.0
    value = jax.jit(losses.closure)
    expected = oracle.closure(
        {"screen": np.asarray(out.screen)}, oracle.model_arrays(model), points, confidence
    )
    np.testing.assert_allclose(value(out, model, points, confidence, CAM), expected, rtol=1e-10)
    moved = drawn + np.array([[5.0, -8.0]])
    assert value(out, model, moved, np.ones(68), CAM) < 1e-20


def test_a_limited_gradient_leaves_the_value_and_teaches_reflectance_and_light_alone(
    tiny_model, float64
):
    model = as_dtype(tiny_model, np.float64)
    params, out, image = scene(model)

    def loss(params, share):
        out = mofa_jax.render(params, model, CAM)
        limited = limit_geometry_gradient(out, params, model, share)
        return losses.photometric(limited, jnp.asarray(image))

    value_and_grad = jax.jit(jax.value_and_grad(loss))
    (none, at_none), (half, at_half), (whole, at_whole) = (
        value_and_grad(params, share) for share in (0.0, 0.5, 1.0)
    )
    expected = jax.jit(losses.photometric)(out, jnp.asarray(image))
    np.testing.assert_allclose([none, half, whole], expected)
    for name in ("shape", "expression", "rotation", "translation"):
        full = getattr(at_whole, name)
        assert not np.any(getattr(at_none, name)) and np.any(full)
        np.testing.assert_allclose(getattr(at_half, name), 0.5 * full, rtol=1e-9, atol=1e-12)
    for name in ("reflectance", "illumination"):
        np.testing.assert_allclose(getattr(at_none, name), getattr(at_whole, name), rtol=1e-9)


def test_objective_names_the_alignment_terms(tiny_model):
    config = compact.get_config().loss
    config.photometric_geometry, config.patch_correlation, config.area_photometric = 0.0, 0.3, 10.0
    config.closure = 2.0
    decoder = Decoder(tiny_model, CAM, surface_patches(tiny_model))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 240, 240, 3), np.uint8),
        "landmarks": np.zeros((2, 68, 2), np.float32),
        "confidence": np.ones((2, 68), np.float32),
    }
    codes = jnp.asarray(0.1 * rng.normal(size=(2, code_size(tiny_model))), jnp.float32)

    @jax.jit
    def run(codes, batch):
        return objective(codes, batch, decoder, lambda weights, images: weights, config)

    loss, (terms, _) = run(codes, batch)
    assert terms["patch_correlation"] > 0 > terms["area_photometric"]
    faces = jax.vmap(mofa_jax.FaceParams.from_code, (0, None))(codes, tiny_model)
    apart = [
        losses.closure(
            compiled_render(jax.tree.map(lambda x, k=k: x[k], faces), tiny_model, CAM),
            tiny_model,
            batch["landmarks"][k],
            batch["confidence"][k],
            CAM,
        )
        for k in (0, 1)
    ]
    np.testing.assert_allclose(terms["closure"], sum(apart), rtol=1e-4)
    np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)
