"""FLAME 2020 and 2023 (Li et al., 2017): a pickle of chumpy arrays, or the same arrays as npz.

Metres, +x the subject's left, y up, z out of the face. `v_template` [V, 3], `shapedirs` [V, 3, 400]
(300 of identity, 100 of expression, scaled), `posedirs` [V, 3, 36], `weights` [V, 5] of the joints
root, neck, jaw, left and right eye, `J_regressor` [5, V], `f` [F, 3]. Landmarks are points on
triangles.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.safe_pickle import load_object_npy, load_pickle
from mofa_jax.face_models.source_files import expect_format, format_of, read_npz

KIND = "flame"
_DM = 10.0  # a meter
_IDENTITY, _MODES = 300, 400
_JAW, _CORRECTED_JOINTS = 2, 4  # of the joints root, neck, jaw, left eye, right eye
_LICENSE = "FLAME's license of the release: 2023 Open CC BY 4.0, others non-commercial research"
# Standard deviations of the jaw's rotation, rad: about x (hole), y (sideways), z (tilting).
# Normal speech and expressions open it by some ten degrees; the other two are small.
JAW_DEVIATIONS = (0.12, 0.03, 0.015)
_KEYS = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor", "f")
_EMBEDDINGS = ("landmark_embedding.npy", "flame_static_embedding.pkl")


def read_flame(path: Path, embedding: Path | None = None) -> RawModel:
    """A FLAME .pkl or .npz; three more expression modes turn the jaw.

    Args:
      path: the model.
      embedding: landmark_embedding.npy (68 points) or flame_static_embedding.pkl (the 51 without
        the jaw line); None for one of these beside the model, if there.

    Raises:
      FaceModelError: a file is damaged, would run code, or misses an array.
    """
    data = _read_arrays(path)
    vertices = data["v_template"] * _DM
    count = len(vertices)
    shapedirs = data["shapedirs"]
    jaw = jaw_modes(data) * np.array(JAW_DEVIATIONS)
    expression = np.concatenate([shapedirs[..., _IDENTITY:], jaw], axis=-1) * _DM
    triangles = data["f"].astype(np.int64)
    embedding = embedding or next(
        (path.with_name(name) for name in _EMBEDDINGS if path.with_name(name).is_file()), None
    )
    landmarks, points = _read_embedding(embedding, vertices, triangles)
    return RawModel(
        mean_shape=vertices,
        shape_basis=(shapedirs[..., :_IDENTITY] * _DM).astype(np.float32),
        expression_basis=expression.astype(np.float32),
        triangles=triangles,
        name=f"FLAME, {path.stem}",
        license=_LICENSE,
        landmarks=landmarks,
        landmark_points=points,
        notes=(
            f"read {count} vertices, meters",
            "added three expression modes of the jaw's rotation, linear about the closed jaw "
            f"({', '.join(f'{np.degrees(d):.1f}' for d in JAW_DEVIATIONS)} degrees at one "
            "deviation)",
            f"found {(landmarks >= 0).sum()} of the 68 landmarks"
            + (
                f" in {embedding.name}" if embedding else ": no landmark embedding beside the model"
            ),
        ),
    )


def jaw_modes(data: dict[str, np.ndarray]) -> np.ndarray:
    """[V, 3, 3]: d vertex / d jaw rotation about x, y, z at the template, file's unit per radian.

    Linear blend skinning moves a vertex v with jaw weight w by w (e x (v - j)) for the small
    rotation e about the jaw's joint j, and the pose correctives add posedirs times the change of
    the jaw's rotation matrix, whose derivative at the identity is the cross-product matrix of e.
    """
    vertices, weights = data["v_template"], data["weights"]
    joint = data["J_regressor"][_JAW] @ vertices
    correctives = data["posedirs"][..., 9 * (_JAW - 1) : 9 * _JAW]
    modes = np.empty((len(vertices), 3, 3))
    for axis, direction in enumerate(np.eye(3)):
        x, y, z = direction
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        skinning = weights[:, [_JAW]] * np.cross(direction, vertices - joint)
        modes[..., axis] = skinning + correctives @ cross.ravel()
    return modes


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if expect_format(path, ["pickle", "npz file"], KIND) == "npz file":
        data = read_npz(path, _KEYS, KIND)
    else:
        data = load_pickle(path)
        missing = [key for key in _KEYS if not isinstance(data, dict) or key not in data]
        if missing:
            raise FaceModelError(
                f"{path}: no {', '.join(missing)}, which a FLAME model has; give FLAME's "
                "generic_model.pkl or flame2023.pkl, not one of its other files."
            )
    try:
        arrays = {key: np.asarray(data[key], np.float64) for key in _KEYS}
    except (TypeError, ValueError) as error:
        raise FaceModelError(
            f"{path}: an array cannot be read ({error}); the file is damaged: download it again."
        ) from error
    _check_shapes(arrays, path)
    return arrays


def _check_shapes(data: dict[str, np.ndarray], path: Path) -> None:
    count = len(data["v_template"])
    joints = _CORRECTED_JOINTS + 1
    expected = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, _MODES),
        "posedirs": (count, 3, 9 * _CORRECTED_JOINTS),
        "weights": (count, joints),
        "J_regressor": (joints, count),
        "f": (len(data["f"]), 3),
    }
    for key, shape in expected.items():
        if data[key].shape != shape:
            raise FaceModelError(
                f"{path}: {key} has shape {data[key].shape}, expected {shape}; give the FLAME 2020 "
                "or 2023 file, whole."
            )


def _read_embedding(
    path: Path | None, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Landmark vertices [68] and exact points [68, 3], -1 and NaN where the file has none."""
    landmarks, points = no_landmarks(), np.full((68, 3), np.nan)
    if path is None:
        return landmarks, points
    npy = format_of(path) == "npy file"
    data = load_object_npy(path) if npy else load_pickle(path)
    for first, face_ids, weights in _points_in(data, path):
        if face_ids.max() >= len(triangles):
            raise FaceModelError(
                f"{path}: names triangle {face_ids.max()} of {len(triangles)}; it belongs to "
                "another mesh."
            )
        corners = triangles[face_ids]
        where = slice(first, first + len(corners))
        landmarks[where] = corners[np.arange(len(corners)), weights.argmax(axis=1)]
        points[where] = np.einsum("lk,lkd->ld", weights, vertices[corners])
    return landmarks, points


def _points_in(data: Any, path: Path) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(first landmark, triangles [L], weights [L, 3]) of the parts that an embedding has."""
    pairs = {
        "full": ("full_lmk_faces_idx", "full_lmk_bary_coords", 68, 0),
        "static": ("static_lmk_faces_idx", "static_lmk_bary_coords", 51, 17),
        "ringnet": ("lmk_face_idx", "lmk_b_coords", 51, 17),
    }
    keys = data if isinstance(data, dict) else {}
    for faces_key, weights_key, count, first in pairs.values():
        if faces_key in keys and weights_key in keys:
            face_ids = np.asarray(keys[faces_key], np.int64).ravel()
            weights = np.asarray(keys[weights_key], np.float64).reshape(-1, 3)
            if len(face_ids) == len(weights) == count and face_ids.min() >= 0:
                return [(first, face_ids, weights)]
    raise FaceModelError(
        f"{path}: expected {' or '.join(faces for faces, *_ in pairs.values())} with 68 or 51 "
        "points; give landmark_embedding.npy or flame_static_embedding.pkl."
    )
