"""A small face made by code: an ellipsoid with nose, brows, eyes and lips, for tests and teaching.

It has everything a face model has (modes, landmarks, texture coordinates) and nothing of a person.
"""

import numpy as np

_HALF_WIDTH, _HALF_HEIGHT, _DEPTH = 0.75, 1.0, 0.85  # dm
_SKIN = np.array([0.72, 0.55, 0.46])
_LIPS = np.array([0.62, 0.30, 0.28])
_BROWS = np.array([0.25, 0.18, 0.14])
_SCLERA = np.array([0.85, 0.83, 0.80])


def analytic_face(
    resolution: int = 49, num_shape: int = 80, num_expression: int = 64, num_reflectance: int = 80
) -> dict[str, np.ndarray]:
    """The arrays of the face-model format: N = resolution^2, F = 2 (resolution - 1)^2.

    Args:
      resolution: vertices along a side of the grid that is bent into a face.
      num_shape: S, num_expression: X, num_reflectance: R, the numbers of modes.
    """
    uv = np.stack(np.meshgrid(*[np.linspace(-1, 1, resolution)] * 2), axis=-1).reshape(-1, 2)
    plane = _disc(uv) * [_HALF_WIDTH, _HALF_HEIGHT]
    mean = np.column_stack([plane, _relief(plane)])
    landmark_plane = _landmark_positions()
    distance = np.linalg.norm(plane[None] - landmark_plane[:, None], axis=-1)
    landmarks = np.argmin(distance, axis=1)
    mean -= mean[landmarks[17:]].mean(axis=0) - [0, 0.04, 0]
    mouth, lower = _bump(plane, (0, -0.42), 0.30), _bump(plane, (0, -0.62), 0.35)
    eyes = sum(_bump(plane, (side * 0.30, 0.25), 0.20) for side in (-1, 1))
    expression_region = (mouth + lower + 0.6 * eyes)[:, None]
    arrays = {
        "mean_shape": mean,
        "shape_basis": _modes(uv, num_shape, 0.05, phase=0.0),
        "expression_basis": _modes(uv, num_expression, 0.05, phase=1.0, window=expression_region),
        "mean_reflectance": _albedo(plane),
        "reflectance_basis": _modes(uv, num_reflectance, 0.06, phase=2.0),
        "uv": (uv + 1) / 2,
    }
    return {
        **{key: value.astype(np.float32) for key, value in arrays.items()},
        "triangles": _grid_triangles(resolution),
        "landmarks": landmarks.astype(np.int32),
        "name": np.array("analytic face"),
        "licence": np.array("Apache-2.0, made by code"),
    }


def _disc(square: np.ndarray) -> np.ndarray:
    """The square [-1, 1]^2 mapped onto the unit disc."""
    x, y = square.T
    return np.stack([x * np.sqrt(1 - y**2 / 2), y * np.sqrt(1 - x**2 / 2)], axis=-1)


def _bump(plane: np.ndarray, center: tuple[float, float], width: float) -> np.ndarray:
    return np.exp(-np.sum((plane - np.array(center)) ** 2, axis=-1) / (width / 1.6) ** 2)


def _relief(plane: np.ndarray) -> np.ndarray:
    """z over the face's plane, dm: an ellipsoid, a nose, lips, a chin, and two eye sockets."""
    x, y = plane.T
    base = _DEPTH * np.sqrt(np.maximum(1.1 - (x / _HALF_WIDTH) ** 2 - (y / _HALF_HEIGHT) ** 2, 0))
    bridge = 0.12 * np.exp(-((x / 0.09) ** 2)) * np.exp(-(((y - 0.10) / 0.25) ** 2))
    tip = 0.22 * _bump(plane, (0, -0.08), 0.18)
    lips = 0.05 * _bump(plane, (0, -0.42), 0.24) + 0.05 * _bump(plane, (0, -0.80), 0.30)
    sockets = sum(0.08 * _bump(plane, (side * 0.30, 0.27), 0.22) for side in (-1, 1))
    return base + bridge + tip + lips - sockets


def _albedo(plane: np.ndarray) -> np.ndarray:
    x, y = plane.T
    weights = {
        "lips": np.exp(-((x / 0.22) ** 4) - ((y + 0.42) / 0.08) ** 4),
        "brows": sum(
            np.exp(-(((x - s * 0.31) / 0.18) ** 4) - ((y - 0.45) / 0.04) ** 4) for s in (-1, 1)
        ),
        "sclera": sum(
            np.exp(-(((x - s * 0.30) / 0.10) ** 4) - ((y - 0.26) / 0.05) ** 4) for s in (-1, 1)
        ),
    }
    albedo = np.tile(_SKIN, (len(plane), 1))
    for weight, color in zip(weights.values(), (_LIPS, _BROWS, _SCLERA), strict=True):
        albedo += weight[:, None] * (color - albedo)
    return albedo


def _modes(
    uv: np.ndarray, count: int, sigma: float, phase: float, window: np.ndarray | float = 1.0
) -> np.ndarray:
    """[N, 3, count] smooth orthogonal displacements, the k-th one's mean square falling as 1/k."""
    frequency = np.arange(1, int(np.ceil(np.sqrt(count))) + 2)
    waves = [
        np.cos(np.pi / 2 * fx * (uv[:, 0] + 1) + phase) * np.cos(np.pi / 2 * fy * (uv[:, 1] + 1))
        for fx in frequency
        for fy in frequency
    ]
    order = np.argsort([fx**2 + fy**2 for fx in frequency for fy in frequency], kind="stable")
    axis = np.random.default_rng(int(phase)).normal(size=(count, 3))
    fields = np.stack([waves[order[k]][:, None] * axis[k] * window for k in range(count)], axis=-1)
    orthogonal, _ = np.linalg.qr(fields.reshape(-1, count))
    scale = sigma * np.sqrt(len(uv)) / np.sqrt(np.arange(1, count + 1))
    return (orthogonal * scale).reshape(len(uv), 3, count)


def _grid_triangles(resolution: int) -> np.ndarray:
    corner = np.arange(resolution**2).reshape(resolution, resolution)
    a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
    c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def _landmark_positions() -> np.ndarray:
    """[68, 2] in the face's plane, dm; the subject's right is on the viewer's left (negative x)."""
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    jaw = np.stack([0.70 * np.cos(angle), 0.10 + 0.95 * np.sin(angle)], 1)
    brow_x, brow_y = np.linspace(-0.50, -0.12, 5), np.array([0.40, 0.46, 0.48, 0.46, 0.43])
    right_brow = np.stack([brow_x, brow_y], 1)
    bridge = np.stack([np.zeros(4), np.linspace(0.27, -0.05, 4)], 1)
    nostrils = np.stack([np.linspace(-0.14, 0.14, 5), [-0.13, -0.15, -0.17, -0.15, -0.13]], 1)
    eye_x, eye_y = [-0.41, -0.34, -0.26, -0.19, -0.26, -0.34], [0.26, 0.30, 0.30, 0.26, 0.22, 0.22]
    right_eye = np.stack([eye_x, eye_y], 1)
    mirror = np.array([-1.0, 1.0])
    left_brow, left_eye = right_brow[::-1] * mirror, right_eye[[3, 2, 1, 0, 5, 4]] * mirror
    outer = _ring(0.25, 0.10, 12)
    inner = _ring(0.17, 0.03, 8)
    parts = [jaw, right_brow, left_brow, bridge, nostrils, right_eye, left_eye, outer, inner]
    return np.concatenate(parts)


def _ring(half_width: float, half_height: float, count: int) -> np.ndarray:
    """Lip landmarks: clockwise for the viewer, from the subject's right, around (0, -0.42)."""
    angle = np.pi - 2 * np.pi * np.arange(count) / count
    return np.stack([half_width * np.cos(angle), -0.42 + half_height * np.sin(angle)], 1)
