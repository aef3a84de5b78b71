"""Fitting: its curvature against derivatives, its minimum against known faces, its manners."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from face_files import as_dtype

import mofa_jax
from mofa_jax.camera import project, rotation_matrix, to_camera_space
from mofa_jax.errors import InputError
from mofa_jax.face_model import face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.fitting.curvature import (
    landmark_curvature,
    photometric_curvature,
    prior_curvature,
    sample_vertices,
)
from mofa_jax.fitting.energy import Energy
from mofa_jax.fitting.levenberg_marquardt import minimize
from mofa_jax.illumination import shade
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.losses import light_deviations, regularizer
from mofa_jax.mesh import area_normals
from mofa_jax.numerics import normalize_columns
from mofa_jax.params import FaceParams
from mofa_jax.renderer import compiled_render
from mofa_jax.sampling import sample_bilinear

CAM = mofa_jax.Camera()
STEPS = 30  # of all fits: one program for as many tests as can share it


def random_code(model, seed: int, scale: float = 0.5) -> np.ndarray:
    """A face a little turned and moved, in light from a side."""
    rng = np.random.default_rng(seed)
    params = FaceParams(
        *(rng.normal(0, scale, size) for size in model.code_sizes),
        rotation=rng.normal(0, 0.1, 3),
        translation=rng.normal(0, 0.05, 3),
        illumination=np.concatenate([np.full((1, 3), 0.2), rng.normal(0, 0.1, (8, 3))]),
    )
    return np.asarray(params.to_code())


def smooth_image(seed: int) -> np.ndarray:
    """[240, 240, 3] in [0, 1] without corners, so that differences are derivatives."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :240] / 240
    frequency, phase = rng.uniform(2, 6, (2, 3)), rng.uniform(0, 6, (2, 3))
    waves = [np.sin(x[..., None] * frequency[0] + phase[0]), np.cos(y[..., None] * frequency[1])]
    return 0.5 + 0.2 * (waves[0] + waves[1])


@partial(jax.jit, static_argnames="num_samples")
def photometric_matrix(params, rendering, image, model, num_samples: int):
    sample = sample_vertices(params, model, CAM, num_samples)
    return photometric_curvature(params, rendering, image, sample, CAM)


@pytest.fixture(scope="module")
def photographed():
    """A model of 441 vertices and a face of it: code, picture, landmarks [68, 2]."""
    model = face_model_from_arrays(analytic_face(21, 6, 4, 3), "small analytic face")
    code = jnp.asarray(random_code(model, 3, 0.8), jnp.float32)
    rendering = compiled_render(FaceParams.from_code(code, model), model, CAM)
    image, mask = mofa_jax.rasterize(rendering, model, CAM)
    image = np.clip(np.asarray(image) + 0.4 * (1 - np.asarray(mask)[..., None]), 0, 1)
    points = np.where(model.landmarks[:, None] >= 0, rendering.screen[model.landmarks], np.nan)
    return model, code, image, points


def test_photometric_curvature_is_that_of_all_residuals(tiny_model, float64):
    """Each visible vertex with each of its channels: sum J^T J / (N ||r||), J by forward mode."""
    model = as_dtype(tiny_model, np.float64)
    image, code = jnp.asarray(smooth_image(0)), jnp.asarray(random_code(model, 1))
    open_ring = np.isin(np.arange(model.num_vertices), model.topology.irregular)[:, None]

    def residuals(code):
        params = FaceParams.from_code(code, model)
        vertices, rotation = model.geometry(params.shape, params.expression), params.rotation
        rotation = rotation_matrix(rotation)
        normals = normalize_columns(area_normals(vertices, model.topology))[0].T
        normals = jnp.where(open_ring, jax.lax.stop_gradient(normals), normals)
        position = to_camera_space(vertices.T, rotation, params.translation, CAM.distance)
        reflectance = model.reflectance(params.reflectance).T
        color = shade(reflectance, rotation.T @ normals.T, params.illumination)
        return sample_bilinear(image, project(position, CAM).T) - color.T

    params = FaceParams.from_code(code, model)
    rendering = compiled_render(params, model, CAM)
    front = np.asarray(rendering.front_facing)
    jacobian = np.asarray(jax.jit(jax.jacfwd(residuals))(code))[front]
    residual = np.asarray(jax.jit(residuals)(code))[front]
    weight = 1 / (model.num_vertices * np.maximum(np.linalg.norm(residual, axis=1), 0.01))
    expected = np.einsum("n,nci,ncj->ij", weight, jacobian, jacobian)
    matrix = photometric_matrix(params, rendering, image, model, 3 * int(front.sum()))
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.slow
def test_a_sample_of_vertices_stands_for_all():
    model = face_model_from_arrays(analytic_face(61, 6, 4, 3), "analytic face")
    params = FaceParams.from_code(jnp.asarray(random_code(model, 3), jnp.float32), model)
    image = jnp.asarray(smooth_image(1), jnp.float32)
    rendering = compiled_render(params, model, CAM)
    front = int(rendering.front_facing.sum())
    whole, part = (
        np.asarray(photometric_matrix(params, rendering, image, model, count))
        for count in (3 * front, front // 2)
    )
    scale = 1 / np.sqrt(np.diagonal(whole))
    difference = scale[:, None] * (whole - part) * scale[None]
    assert np.abs(difference).max() < 0.3 and np.sqrt(np.mean(difference**2)) < 0.1


def test_landmark_curvature_is_that_of_finite_differences(tiny_model, float64):
    model = as_dtype(tiny_model, np.float64)
    code, arrays = random_code(model, 2), oracle.model_arrays(model)
    confidence = np.random.default_rng(2).uniform(0, 1, 68)
    confidence[20] = 0

    def screen(code):
        return oracle.render(code, arrays)["screen"][arrays["landmarks"]] / 240

    step = 1e-5
    steps = step * np.eye(len(code))
    jacobian = np.stack([(screen(code + d) - screen(code - d)) / (2 * step) for d in steps])
    known = confidence * (arrays["landmarks"] >= 0)
    weight = np.zeros(68)
    weight[LOSS_LANDMARKS] = known[LOSS_LANDMARKS]
    expected = 2 * np.einsum("j,ajx,bjx->ab", weight, jacobian, jacobian)
    energy = Energy.of(model, CAM, mofa_jax.FitWeights())
    params = FaceParams.from_code(jnp.asarray(code), model)
    curvature = jax.jit(landmark_curvature)
    faces = params, jnp.asarray(confidence), energy.landmarks, CAM
    matrix = curvature(*faces, 1.0, 0.0)
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    pairs = oracle.FACING_LIDS + oracle.FACING_LIPS
    apart = np.stack([jacobian[:, a] - jacobian[:, b] for a, b in pairs], axis=1)
    weight = np.array([min(known[a], known[b]) for a, b in pairs])
    expected = 4 * expected + 3 * 2 * np.einsum("j,ajx,bjx->ab", weight, apart, apart)
    matrix = curvature(*faces, 4.0, 3.0)
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_prior_curvature_is_the_regularizers_hessian_and_semidefinite_for_the_light(
    tiny_model, float64
):
    model = as_dtype(tiny_model, np.float64)
    code = jnp.asarray(random_code(model, 4))
    params = FaceParams.from_code(code, model)
    hessian = jax.hessian(lambda code: regularizer(FaceParams.from_code(code, model), 0.3, 0.7))
    curvature = jax.jit(prior_curvature)
    matrix = curvature(params, model, 0.3, 0.7, 0.0)
    np.testing.assert_allclose(matrix, jax.jit(hessian)(code), atol=1e-12)
    light = curvature(params, model, 0.3, 0.7, 2.0) - matrix
    assert np.linalg.eigvalsh(light).min() > -1e-9
    slopes = jax.jit(jax.jacrev(lambda c: light_deviations(FaceParams.from_code(c, model))))(code)
    np.testing.assert_allclose(np.trace(light), 4 * np.sum(slopes**2))


def test_the_energy_is_eq_7_and_never_rises(photographed):
    """At the start it is what plain NumPy says."""
    model, _, image, points = photographed
    points = np.nan_to_num(points) + 3.0
    weights = mofa_jax.FitWeights(
        landmark=2.0, closure=3.0, regularizer=1e-3, reflectance=0.2, light=0.0
    )
    start = random_code(model, 8)
    init = FaceParams.from_code(jnp.asarray(start, jnp.float32), model)
    fitted = mofa_jax.fit(image, model, CAM, points, init=init, num_steps=STEPS, weights=weights)
    arrays = oracle.model_arrays(model)
    out = oracle.render(start, arrays)
    alpha, delta, beta = np.split(start[: sum(model.code_sizes)], np.cumsum(model.code_sizes)[:-1])
    prior = (alpha**2).sum() + 0.2 * (beta**2).sum() + 0.8 * (delta**2).sum()
    expected = 1.92 * oracle.photometric(out, np.asarray(image, np.float64))[0]
    expected += 2 * oracle.landmark(out, arrays, points, np.ones(68))[0] + 1e-3 * prior
    expected += 3 * oracle.closure(out, arrays, points, np.ones(68))
    np.testing.assert_allclose(fitted.energy[0], expected, rtol=1e-4)
    assert fitted.energy.shape == (STEPS + 1,) and np.isfinite(fitted.energy).all()
    assert (np.diff(fitted.energy) <= 0).all() and fitted.energy[-1] < 0.8 * fitted.energy[0]


@pytest.mark.slow
def test_a_rendered_face_is_found_again_from_its_picture_and_landmarks(photographed):
    model, code, image, points = photographed
    weights = mofa_jax.FitWeights(regularizer=1e-6, light=0.1)
    fitted = mofa_jax.fit(image, model, CAM, points, num_steps=STEPS, weights=weights)
    codes = (fitted.params, FaceParams.from_code(code, model), FaceParams.neutral(model))
    found, true, average = (compiled_render(params, model, CAM) for params in codes)
    error, start = (
        mofa_jax.metrics.geometric_error(rendering.vertices, true.vertices)
        for rendering in (found, average)
    )
    assert error < 1 and error < 0.1 * start  # mm
    picture = jnp.asarray(image, jnp.float32)
    colors = [mofa_jax.metrics.photometric_error(r, picture) for r in (found, true, average)]
    assert colors[0] < 1.2 * colors[1] and colors[0] < 0.3 * colors[2]


@pytest.mark.slow
def test_one_persons_photographs_share_shape_and_reflectance(photographed):
    model, code, _, _ = photographed
    codes = np.stack([code, random_code(model, 7)]).astype(np.float32)
    params = FaceParams.from_code(jnp.asarray(codes), model)
    params = params.replace(
        shape=jnp.stack([params.shape[0]] * 2),
        reflectance=jnp.stack([params.reflectance[0]] * 2),
    )
    images, points = [], []
    for k in range(2):
        rendering = compiled_render(jax.tree.map(lambda x, k=k: x[k], params), model, CAM)
        images.append(np.clip(mofa_jax.rasterize(rendering, model, CAM)[0], 0, 1))
        points.append(np.asarray(rendering.screen)[model.landmarks])
    fitted = mofa_jax.fit_person(
        np.stack(images),
        model,
        CAM,
        np.stack(points),
        num_steps=STEPS,
        weights=mofa_jax.FitWeights(regularizer=1e-6, light=0.1),
    )
    np.testing.assert_array_equal(fitted.params.shape[0], fitted.params.shape[1])
    np.testing.assert_array_equal(fitted.params.reflectance[0], fitted.params.reflectance[1])
    assert np.abs(fitted.params.expression[0] - fitted.params.expression[1]).max() > 0.1
    np.testing.assert_allclose(fitted.params.shape[0], params.shape[0], atol=0.15)
    assert (np.diff(fitted.energy) <= 0).all()


@pytest.mark.slow
def test_fits_can_be_batched(photographed):
    """vmap under jit gives what face after face gives."""
    model, _, image, points = photographed
    images, points = np.stack([image, image[:, ::-1]]), np.stack([points, points + 1.5])

    def fit_one(image, points):
        return mofa_jax.fit(image, model, CAM, points, num_steps=STEPS)

    together = jax.jit(jax.vmap(fit_one))(images, points)
    for k in range(2):
        alone = fit_one(images[k], points[k])
        np.testing.assert_allclose(together.energy[k, :4], alone.energy[:4], rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["image"].__setitem__((5, 5, 0), np.nan), "NaN or values outside"),
        (lambda a: a.update(image=a["image"] * 255), "values outside"),
        (lambda a: a.update(image=a["image"][:100]), r"shape \(100, 240, 3\), expected \(240"),
        (lambda a: a.update(landmarks=a["landmarks"][:46]), r"landmarks \(46, 2\)"),
        (lambda a: a.update(confidence=np.ones(46)), r"confidence \(46,\)"),
        (lambda a: a.update(landmarks=np.full((68, 2), np.nan)), "none of the landmarks"),
        (lambda a: a.update(confidence=np.zeros(68)), "none of the landmarks"),
        (lambda a: a.update(confidence=np.full(68, np.nan)), "confidence holds NaN"),
        (lambda a: a.update(confidence=np.full(68, -1.0)), "outside"),
        (lambda a: a.update(landmarks=None, confidence=np.ones(68)), "without landmarks"),
        (lambda a: a.update(num_steps=-1), "num_steps is -1"),
        (lambda a: a.update(init=jax.tree.map(lambda x: x + np.nan, a["init"])), "init holds NaN"),
        (lambda a: a.update(weights=mofa_jax.FitWeights(light=-1)), "weights.light is -1"),
        (lambda a: a.update(init=a["init"].replace(shape=jnp.zeros(9))), "one code of face model"),
    ],
)
def test_bad_input_is_one_sentence(photographed, change, message):
    model, _, image, points = photographed
    arguments = {"image": image.copy(), "landmarks": points, "init": FaceParams.neutral(model)}
    change(arguments)
    with pytest.raises(InputError, match=message) as error:
        mofa_jax.fit(model=model, cam=CAM, **arguments)
    assert "\n" not in str(error.value)


def test_absent_landmarks_do_not_count(photographed):
    model, _, image, points = photographed
    init, wrong, points = FaceParams.neutral(model), points.copy(), points.copy()
    wrong[30:40], points[30:40] = 1e4, np.nan
    confidence = np.ones(68)
    confidence[30:40] = 0
    by_nan = mofa_jax.fit(image, model, CAM, points, init=init, num_steps=STEPS)
    by_confidence = mofa_jax.fit(image, model, CAM, wrong, confidence, init=init, num_steps=STEPS)
    np.testing.assert_array_equal(by_nan.energy, by_confidence.energy)


def test_minimization_ends_in_the_valley_of_rosenbrocks_function(float64):
    def residuals(x):
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def curvature(x, _):
        jacobian = jax.jacfwd(residuals)(x)
        return 2 * jacobian.T @ jacobian

    energy = jax.value_and_grad(lambda x: (jnp.sum(residuals(x) ** 2), None), has_aux=True)
    x, energies = minimize(energy, curvature, jnp.array([-1.2, 1.0]), 60, 60)
    np.testing.assert_allclose(x, [1, 1], atol=1e-8)
    assert energies.shape == (61,) and (np.diff(energies) <= 0).all()


def test_minimization_takes_no_step_to_where_the_energy_is_not_a_number():
    """x - log x is none below zero, where far too small a curvature leads."""

    def energy(x):
        return jnp.sum(x - jnp.log(x)), None

    x, energies = minimize(
        jax.value_and_grad(energy, has_aux=True),
        lambda x, _: 1e-3 * jnp.eye(1),
        jnp.ones(1) * 5,
        60,
        60,
    )
    assert np.isfinite(energies).all() and (np.diff(energies) <= 0).all()
    np.testing.assert_allclose(x, 1, atol=0.05)


def test_an_unknown_without_curvature_stays(photographed):
    """Landmarks alone say nothing of reflectance and light, if no prior does."""
    model, code, image, points = photographed
    init = FaceParams.from_code(0.9 * code, model)
    weights = mofa_jax.FitWeights(photometric=0.0, regularizer=0.0)
    fitted = mofa_jax.fit(image, model, CAM, points, init=init, num_steps=STEPS, weights=weights)
    np.testing.assert_array_equal(fitted.params.reflectance, init.reflectance)
    np.testing.assert_array_equal(fitted.params.illumination, init.illumination)
    assert fitted.energy[-1] < 0.01 * fitted.energy[0]
