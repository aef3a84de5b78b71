"""Google's GNM head, version 3 (Apache-2.0): gnm_head.npz and head_sparse_68.txt.

Metres, +x the subject's left, y up, z out of the face; `template_vertex_positions` [V, 3],
`vertex_identity_basis` [I, V, 3], `expression_basis` [E, V, 3], both scaled, their modes named;
`triangles` [T, 3], `triangle_uvs` [T, 3, 2], `vertex_groups` [G, V] with `vertex_group_names`. A
line of head_sparse_68.txt is three vertices, each followed by its weight.
"""

from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.source_files import read_npz, read_numbers

KIND = "gnm"
_DM = 10.0  # a meter
_KEYS = (
    "template_vertex_positions",
    "vertex_identity_basis",
    "identity_names",
    "expression_basis",
    "expression_names",
    "triangles",
    "vertex_groups",
    "vertex_group_names",
)
_LANDMARKS = "head_sparse_68.txt"
_FACE_EXPRESSIONS = ("left_eye_region", "right_eye_region", "lower_face_region")
_IN_GROUP = 0.5


def read_gnm(path: Path, landmarks: Path | None = None) -> RawModel:
    """The skin of a gnm_head.npz: its head identities and face expressions.

    Teeth, tongue, eyeballs, the mouth's and the eyes' insides are left out.

    Args:
      path: the npz.
      landmarks: head_sparse_68.txt; None for the one beside the model or in the repository's
        data/landmarks, if there.

    Raises:
      FaceModelError: the file is damaged, misses an array or a named group.
    """
    data = read_npz(path, _KEYS, KIND, ["triangle_uvs"])
    vertices = data["template_vertex_positions"].astype(np.float64) * _DM
    skin = _skin(data, path)
    triangles = data["triangles"].astype(np.int64)
    inside = skin[triangles].all(axis=1)
    shape = _chosen_modes(data, "vertex_identity_basis", "identity_names", ("head",), path)
    expression = _chosen_modes(
        data, "expression_basis", "expression_names", _FACE_EXPRESSIONS, path
    )
    landmarks = landmarks or _beside(path)
    index, points = _read_landmarks(landmarks, vertices)
    if "triangle_uvs" in data:
        uv = _vertex_uv(triangles[inside], data["triangle_uvs"][inside], len(vertices))
    else:
        uv = None
    return RawModel(
        mean_shape=vertices,
        shape_basis=shape,
        expression_basis=expression,
        triangles=triangles[inside],
        name="GNM head v3",
        license="Apache-2.0, Google LLC",
        landmarks=index,
        landmark_points=points,
        uv=uv,
        notes=(
            f"read the skin, {int(skin.sum())} of {len(vertices)} vertices, meters",
            f"found {(index >= 0).sum()} of the 68 landmarks"
            + (f" in {landmarks.name}" if landmarks else f": no {_LANDMARKS} beside the model"),
        ),
    )


def _skin(data: dict, path: Path) -> np.ndarray:
    """[V] bool: the outer skin; all but the mouth's inside where the file has no such group."""
    groups = {
        str(name): row > _IN_GROUP
        for name, row in zip(data["vertex_group_names"], data["vertex_groups"], strict=False)
    }
    if "skin_exterior" in groups:
        return groups["skin_exterior"]
    if "skin" in groups:
        return groups["skin"] & ~groups.get("mouth_sock", np.zeros_like(groups["skin"]))
    raise FaceModelError(
        f"{path}: no vertex group 'skin_exterior' or 'skin', found "
        f"{', '.join(sorted(groups)[:5])}; give the head model of version 3."
    )


def _chosen_modes(
    data: dict, basis: str, names: str, prefixes: tuple[str, ...], path: Path
) -> np.ndarray:
    """[V, 3, K] float32, dm: the modes whose names begin with one of the prefixes."""
    labels = [str(name) for name in data[names]]
    modes, vertices = data[basis], len(data["template_vertex_positions"])
    if modes.shape != (len(labels), vertices, 3):
        raise FaceModelError(
            f"{path}: {basis} has shape {modes.shape}, expected {(len(labels), vertices, 3)}; the "
            "file is damaged: download it again."
        )
    chosen = [i for i, label in enumerate(labels) if label.startswith(prefixes)]
    if not chosen:
        raise FaceModelError(
            f"{path}: {names} has none that begins with {' or '.join(prefixes)}; give the head "
            "model of version 3."
        )
    return np.moveaxis(modes[chosen].astype(np.float32) * np.float32(_DM), 0, -1)


def _beside(path: Path) -> Path | None:
    places = (path.with_name(_LANDMARKS), path.parent.parent.parent / "landmarks" / _LANDMARKS)
    return next((place for place in places if place.is_file()), None)


def _read_landmarks(path: Path | None, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmark vertices [68] and exact points [68, 3], -1 and NaN without a file."""
    if path is None:
        return no_landmarks(), np.full((68, 3), np.nan)
    rows = read_numbers(path)
    corners, weights = rows[:, ::2].astype(np.int64), rows[:, 1::2]
    if rows.shape != (68, 6) or corners.min() < 0 or corners.max() >= len(vertices):
        raise FaceModelError(
            f"{path}: {rows.shape[0]} rows of {rows.shape[1]} numbers, expected 68 of three "
            f"vertices below {len(vertices)} and their weights; take the file that belongs to the "
            "model."
        )
    order = _jaw_order(np.einsum("lk,lkd->ld", weights, vertices[corners]))
    corners, weights = corners[order], weights[order]
    points = np.einsum("lk,lkd->ld", weights, vertices[corners])
    return corners[np.arange(68), weights.argmax(axis=1)], points


def _jaw_order(points: np.ndarray) -> np.ndarray:
    """The 68 with the jaw line's first 17 from the subject's right ear to the left.

    Some releases list a part of the jaw line backwards.
    """
    return np.concatenate([np.argsort(points[:17, 0], kind="stable"), np.arange(17, 68)])


def _vertex_uv(triangles: np.ndarray, corner_uv: np.ndarray, count: int) -> np.ndarray | None:
    """[V, 2], or None where a vertex lies on a seam."""
    uv = np.zeros((count, 2))
    uv[triangles] = corner_uv
    return uv if np.abs(uv[triangles] - corner_uv).max() < 1e-4 else None
