"""render, the losses and the metrics against an independent float64 computation."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from face_files import as_dtype

import mofa_jax
from mofa_jax.params import code_size

CAM = mofa_jax.Camera()


def random_code(model, seed, yaw=None):
    rng = np.random.default_rng(seed)
    code = 0.7 * rng.normal(size=code_size(model))
    code[-33:] = 0.25 * rng.normal(size=33)
    if yaw is not None:
        code[-33:-30] = 0.1, yaw, -0.1
    return code


def random_image(seed):
    """A smooth random photograph [240, 240, 3]."""
    coarse = np.random.default_rng(seed).uniform(size=(14, 14, 3))
    return np.clip(np.asarray(jax.image.resize(coarse, (240, 240, 3), "cubic"), float), 0, 1)


def render_code(code, model, dtype):
    params = mofa_jax.FaceParams.from_code(jnp.asarray(code, dtype), model)
    return params, mofa_jax.renderer.compiled_render(params, model, CAM)


def relative(value, true):
    return np.max(np.abs(np.asarray(value, float) - true)) / np.max(np.abs(true))


@pytest.mark.parametrize("yaw", [None, 1.2, 2.4, -1.9])
def test_rendering_equals_float64_computation_on_a_real_model(real_model, yaw):
    code = random_code(real_model, 1, yaw)
    true = oracle.render(code, oracle.model_arrays(real_model))
    _, out = render_code(code, real_model, jnp.float32)
    assert relative(out.screen, true["screen"]) < 1e-5
    assert np.max(np.abs(out.color - true["color"])) < 2e-4
    assert np.max(np.abs(out.normals - true["normals"])) < 2e-4
    assert np.max(np.abs(out.vertices - true["vertices"])) < 1e-5
    assert np.mean(np.asarray(out.front_facing) != true["front_facing"]) < 2e-4


@pytest.mark.parametrize("yaw", [None, 1.7])
def test_losses_and_metrics_equal_float64_computation(real_model, float64, yaw):
    model, image = as_dtype(real_model, np.float64), random_image(0)
    code, m = random_code(model, 2, yaw), oracle.model_arrays(model)
    rng = np.random.default_rng(3)
    points, confidence = rng.uniform(0, 240, (68, 2)), rng.uniform(size=68)
    confidence[[8, 40]] = 0
    points[8] = np.nan
    params, out = render_code(code, model, jnp.float64)
    true = oracle.render(code, m)
    loss, error = oracle.photometric(true, image)
    photometric = jax.jit(mofa_jax.losses.photometric)
    np.testing.assert_allclose(photometric(out, image), loss, rtol=1e-5)
    photometric_error = jax.jit(mofa_jax.metrics.photometric_error)
    np.testing.assert_allclose(photometric_error(out, image), error, rtol=1e-5)
    loss, error = oracle.landmark(true, m, points, confidence)
    landmark = jax.jit(mofa_jax.losses.landmark)(out, model, points, confidence, CAM)
    np.testing.assert_allclose(landmark, loss, rtol=1e-5)
    landmark = jax.jit(mofa_jax.metrics.landmark_error)(out, model, points, confidence)
    np.testing.assert_allclose(landmark, error, rtol=1e-5)
    sizes = model.code_sizes
    alpha, delta, beta = np.split(code, np.cumsum(sizes))[:3]
    prior = (alpha**2).sum() + 1.7e-3 * (beta**2).sum() + 0.8 * (delta**2).sum()
    np.testing.assert_allclose(mofa_jax.losses.regularizer(params), prior, rtol=1e-10)


@pytest.mark.slow
def test_gradients_equal_finite_differences(real_model, float64):
    model, image = as_dtype(real_model, np.float64), jnp.asarray(random_image(1))
    points = jnp.asarray(np.random.default_rng(5).uniform(60, 180, (68, 2)))
    code = random_code(model, 4)

    @jax.jit
    def loss(code):
        _, out = render_code(code, model, jnp.float64)
        land = mofa_jax.losses.landmark(out, model, points, jnp.ones(68), CAM)
        return mofa_jax.losses.photometric(out, image) + land

    gradient = np.asarray(jax.grad(loss)(jnp.asarray(code)))
    rng = np.random.default_rng(6)
    entries = np.concatenate([rng.choice(len(code) - 33, 12, False), len(code) - 33 + np.arange(9)])
    errors = []
    for k in entries:
        step = np.zeros_like(code)
        step[k] = 1e-6
        difference = (loss(code + step) - loss(code - step)) / 2e-6
        errors.append(abs(gradient[k] - difference) / (abs(difference) + 1e-6))
    assert np.median(errors) < 1e-4
    assert np.max(errors) < 5e-2  # a vertex that changes its pixel cell or its side bends the loss


@jax.jit
@jax.value_and_grad
def loss_and_gradient(code, model, image):
    """All terms of Eq. 7, with every landmark in the middle."""
    params, out = render_code(code, model, code.dtype)
    points, ones = jnp.full((68, 2), 120.0, code.dtype), jnp.ones(68, code.dtype)
    land = mofa_jax.losses.landmark(out, model, points, ones, CAM)
    prior = mofa_jax.losses.regularizer(params)
    return mofa_jax.losses.photometric(out, image) + land + prior


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "special",
    ["zero", "degenerate", "at_camera", "behind_camera", "huge_rotation", "tiny_rotation", "far"],
)
def test_gradients_are_finite_everywhere(tiny_model, float64, special, dtype):
    model = as_dtype(tiny_model, dtype)
    code = np.zeros(code_size(model), dtype)
    if special == "degenerate":
        model = model.replace(mean_shape=model.mean_shape * 0)
    elif special == "at_camera":
        code[-28] = float(model.mean_shape[7, 2]) - 10.0
        code[-30:-28] = model.mean_shape[7, :2]
    elif special == "behind_camera":
        code[-28] = -12.0
    elif special == "huge_rotation":
        code[-33:-30] = 1e12, -3e8, 5e15
    elif special == "tiny_rotation":
        code[-33:-30] = 1e-20, 0, 1e-30
    elif special == "far":
        code[:] = 300.0
    value, gradient = loss_and_gradient(
        jnp.asarray(code), model, jnp.asarray(random_image(2), dtype)
    )
    assert value.dtype == dtype
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_black_face_on_black_photograph_has_zero_loss_and_gradient(tiny_model):
    black = tiny_model.replace(
        mean_reflectance=tiny_model.mean_reflectance * 0,
        reflectance_modes=tiny_model.reflectance_modes * 0,
    )

    def loss(code):
        _, out = render_code(code, black, jnp.float32)
        return mofa_jax.losses.photometric(out, jnp.zeros((240, 240, 3)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros(code_size(black)))
    assert value == 0 and not np.any(gradient)


def weighted_fields(model, forward_mode):
    """A loss that reaches every field of a rendering, of the code, the camera and the model."""
    rng = np.random.default_rng(7)
    sizes = {"screen": 2, "color": 3, "vertices": 3, "normals": 3}
    shapes = {key: (model.num_vertices, size) for key, size in sizes.items()}
    shapes["area"] = (model.num_vertices,)
    weights = {key: jnp.asarray(rng.normal(size=shape)) for key, shape in shapes.items()}

    def loss(code, cam, model):
        params = mofa_jax.FaceParams.from_code(code, model)
        out = mofa_jax.render(params, model, cam, forward_mode=forward_mode)
        return sum(jnp.sum(weight * getattr(out, key)) for key, weight in weights.items())

    return loss


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # the order of work that each one gets
def test_gradient_by_hand_equals_the_derived_one(tiny_model, float64, monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    model = as_dtype(tiny_model, np.float64)
    yaws = (None, None, None, 2.0, 2.0, 2.0)
    codes = jnp.asarray(np.stack([random_code(model, i % 3, yaw) for i, yaw in enumerate(yaws)]))
    cam, found = CAM.replace(focal=1000.0, principal_point=(118.0, 125.0)), []
    for forward_mode in (False, True):
        loss = jax.value_and_grad(weighted_fields(model, forward_mode), (0, 1, 2), allow_int=True)
        batched = jax.jit(jax.vmap(loss, (0, None, None)))
        value, (at_code, at_cam, at_model) = batched(codes, cam, model)
        floats = (at_model.geometry_modes, at_model.mean_shape, at_model.reflectance_modes)
        found.append((value, at_code, jax.tree.leaves(at_cam), floats))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), *found)


def test_a_gradient_has_the_types_of_a_mixed_code(tiny_model, float64):
    params = mofa_jax.FaceParams.neutral(tiny_model).replace(
        illumination=jnp.ones((9, 3)), translation=jnp.array([0.1, 0.2, 0.3])
    )  # doubles, beside single precision

    @functools.partial(jax.jit, static_argnums=1)
    @jax.grad
    def gradient(params, forward_mode):
        out = mofa_jax.render(params, tiny_model, CAM, forward_mode=forward_mode)
        return jnp.sum(out.color * out.screen[:, :1])

    found = gradient(params, False)
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, params)
    for a, b in zip(*map(jax.tree.leaves, (found, gradient(params, True))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))


def test_forward_mode_and_second_derivatives_equal_finite_differences(tiny_model, float64):
    model, image = as_dtype(tiny_model, np.float64), jnp.asarray(random_image(2))
    code, rng = jnp.asarray(random_code(model, 5)), np.random.default_rng(8)
    direction = jnp.asarray(rng.normal(size=code.shape))

    def energy(code, forward_mode=False):
        params = mofa_jax.FaceParams.from_code(code, model)
        out = mofa_jax.render(params, model, CAM, forward_mode=forward_mode)
        return mofa_jax.losses.photometric(out, image)

    def smooth(code):
        out = render_code(code, model, jnp.float64)[1]
        return jnp.sum(out.color**2 * out.normals)

    forward = jax.jit(lambda x, v: jax.jvp(lambda code: energy(code, True), (x,), (v,))[1])
    along = jax.jit(jax.grad(energy))(code) @ direction
    np.testing.assert_allclose(forward(code, direction), along, rtol=1e-8)
    gradient, step = jax.jit(jax.grad(smooth)), 1e-5 * direction
    second = jax.jit(lambda x, v: jax.jvp(jax.grad(smooth), (x,), (v,))[1])(code, direction)
    difference = (gradient(code + step) - gradient(code - step)) / 2e-5
    np.testing.assert_allclose(second, difference, rtol=1e-4, atol=1e-5)


def test_screen_areas_are_thirds_of_the_triangles_seen(real_model):
    out = render_code(random_code(real_model, 6), real_model, jnp.float32)[1]
    screen = np.asarray(out.screen, float) * [1, -1]  # y up, so that what is seen winds positively
    a, b, c = (screen[np.asarray(real_model.triangles)[:, k]] for k in range(3))
    double = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    expected = np.zeros(len(screen))
    for k in range(3):
        np.add.at(expected, np.asarray(real_model.triangles)[:, k], double / 6)
    inside = expected > 0.2 * np.median(expected)
    np.testing.assert_allclose(np.asarray(out.area)[inside], expected[inside], rtol=0.05)
    assert not np.any(np.asarray(out.area)[~np.asarray(out.front_facing)])


def test_zero_code_is_the_mean_face_in_the_middle_lit_by_ambient_light(real_model):
    params = mofa_jax.FaceParams.neutral(real_model)
    out = mofa_jax.renderer.compiled_render(params, real_model, CAM)
    np.testing.assert_allclose(out.color, 0.7 * real_model.mean_reflectance, atol=1e-6)
    centroid = out.screen[real_model.landmarks[np.array(oracle.LOSS_LANDMARKS)]].mean(axis=0)
    np.testing.assert_allclose(centroid, [120, 112], atol=4)


def test_positive_rotation_about_y_turns_the_nose_to_the_viewers_left(real_model):
    """T^-1 acts on points: the camera orbits to the right, so the face is seen turned left."""
    code = np.zeros(code_size(real_model))
    code[-32] = 0.3
    out = render_code(code, real_model, jnp.float32)[1]
    assert out.screen[real_model.landmarks[30], 0] < out.screen[real_model.landmarks[27], 0] - 5


def test_render_is_jit_and_vmap_transparent(tiny_model):
    codes = jnp.asarray(np.stack([random_code(tiny_model, s) for s in range(3)]), jnp.float32)

    def screen(code):
        return render_code(code, tiny_model, jnp.float32)[1].screen

    batched = jax.jit(jax.vmap(screen))(codes)
    np.testing.assert_allclose(batched, np.stack([screen(c) for c in codes]), rtol=2e-5, atol=1e-3)


def test_backward_pass_of_the_normals_adds_nothing_up_by_a_scatter(tiny_model):
    """Its sums would change from run to run on a GPU."""

    def loss(code):
        return jnp.sum(render_code(code, tiny_model, jnp.float32)[1].normals)

    program = str(jax.make_jaxpr(jax.grad(loss))(jnp.zeros(code_size(tiny_model))))
    added_up = set(re.findall(r"\[([\d,]+)\] = scatter-add", program))
    assert "gather[" in program and added_up <= {"9,3"}  # the light's
