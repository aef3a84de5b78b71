import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from scipy.linalg import expm

from mofa_jax.camera import Camera, head_yaw, project, rotation_matrix, to_camera_space


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-5, 9e-4, 1.1e-3, 0.3, 3.0, 9.0])
def test_rotation_equals_the_matrix_exponential(float64, scale):
    w = scale * np.array([0.6, -0.48, 0.64])
    np.testing.assert_allclose(rotation_matrix(jnp.asarray(w)), oracle.rotation(w), atol=1e-11)


rotation_jacobian = jax.jit(jax.jacobian(rotation_matrix))


@pytest.mark.parametrize("angle", [0.0, 5e-4, 2e-3, 0.4])
def test_rotation_gradient_equals_finite_differences(float64, angle):
    w = angle * np.array([0.6, 0.0, 0.8])
    jacobian = rotation_jacobian(jnp.asarray(w))
    for k in range(3):
        step = np.eye(3)[k] * 1e-5
        after, before = (expm(np.cross(v, np.eye(3)).T) for v in (w + step, w - step))
        np.testing.assert_allclose(jacobian[..., k], (after - before) / 2e-5, atol=1e-8)


def test_rotation_is_orthogonal_in_float32_for_any_finite_input():
    for scale in (1e-38, 1e-20, 1e-3, 1.0, 1e4, 1e20, 1e37):
        rotation = rotation_matrix(jnp.array([scale, -scale, scale / 2], jnp.float32))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)


def test_camera_looks_down_minus_z_with_y_up_and_image_rows_down():
    cam = Camera()
    right_up = project(jnp.array([[1.0], [2.0], [-10.0]]), cam)
    np.testing.assert_allclose(right_up, [[120 + 108.75], [120 - 217.5]])


@pytest.mark.parametrize(
    "turn", [(0.0, 0.3, 0.0), (0.4, -1.2, 0.1), (0.2, 2.5, -0.3), (0.5, 0.0, 0.4)]
)
def test_yaw_is_the_direction_of_the_nose_seen_from_above(turn):
    x, _, z = np.linalg.inv(oracle.rotation(turn)) @ [0, 0, 1]
    yaw = head_yaw(jnp.array(turn))
    direction = np.array([-x, z]) / np.hypot(x, z)
    np.testing.assert_allclose([np.sin(yaw), np.cos(yaw)], direction, atol=1e-5)
    nose = jnp.array([[0.0], [0.0], [1.0]])
    seen = to_camera_space(nose, rotation_matrix(jnp.array(turn)), jnp.zeros(3), 10.0)
    assert np.sign(yaw) == -np.sign(seen[0, 0])  # positive to the left of the image


def test_camera_orbits_the_face():
    rotation = rotation_matrix(jnp.array([0.2, -0.5, 0.1]))
    origin = to_camera_space(jnp.zeros((3, 1)), rotation, jnp.zeros(3), 10.0)
    np.testing.assert_allclose(origin, [[0], [0], [-10]], atol=1e-6)


def test_translation_moves_the_face_against_its_sign():
    moved = to_camera_space(jnp.zeros((3, 1)), jnp.eye(3), jnp.array([0.1, 0.2, 0.3]), 10.0)
    np.testing.assert_allclose(moved, [[-0.1], [-0.2], [-10.3]], rtol=1e-6)


def test_points_at_the_camera_project_to_finite_pixels():
    points = jnp.array([[0.0, 0, 0], [1.0, 1, 0], [1.0, 1, 1e-9]]).T
    assert np.isfinite(project(points, Camera())).all()


def test_scaled_camera_scales_the_picture():
    points = jnp.array([[0.3], [-0.2], [-9.5]])
    cam = Camera()
    assert cam.scaled(2).image_size == (480, 480)
    np.testing.assert_allclose(project(points, cam.scaled(2)), 2 * project(points, cam), rtol=1e-6)
