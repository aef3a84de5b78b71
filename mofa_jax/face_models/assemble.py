"""From a publisher's arrays to a `FaceModel`: the steps that all kinds share."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mofa_jax.face_model import FaceModel, face_model_from_arrays
from mofa_jax.face_models import model_checks
from mofa_jax.face_models.frontal_face import frontal_face
from mofa_jax.face_models.holes import close_holes
from mofa_jax.face_models.loop_subdivision import loop_subdivision
from mofa_jax.face_models.orthogonal_modes import orthogonal_modes
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.surface import (
    facing_outwards,
    half_edges,
    largest_component,
    with_clean_boundary,
)
from mofa_jax.face_models.transfer import ReferenceFace, transfer_landmarks, transfer_reflectance

CENTROID = np.array([0, 0.04, 0])  # dm: of the average face's landmarks 17-67
_MOUTH_INSIDE = np.array([0.22, 0.10, 0.09])  # RGB
_MOST_VERTICES = 40_000  # that automatic subdivision goes to


@dataclass(frozen=True)
class Assembly:
    """How a model is put together.

    Attributes:
      num_shape, num_expression, num_reflectance: at most so many modes of each.
      keep_all: the whole head, not only the frontal face.
      keep_holes: leave eyes and mouth open.
      keep_modes: the publisher's modes in their order instead of orthogonal ones on the region.
      subdivisions: steps of Loop's scheme; None for as many as stay below 40,000 vertices.
    """

    num_shape: int = 80
    num_expression: int = 64
    num_reflectance: int = 80
    keep_all: bool = False
    keep_holes: bool = False
    keep_modes: bool = False
    subdivisions: int | None = None


def assemble(
    model: RawModel, source: str, reference: Callable[[], ReferenceFace], how: Assembly
) -> tuple[FaceModel, list[str]]:
    """Checks, cuts, closes, refines and centers a model, and fills in what it lacks.

    Args:
      model: as read.
      source: what messages call it, such as the file's path.
      reference: gives the face that landmarks and reflectance are taken from; asked only if needed.
      how: the choices.

    Returns:
      the face model, and what was done, a sentence each.

    Raises:
      FaceModelError: the model is not what it should be.
    """
    model_checks.check_arrays(model, source)
    model = _with_surface(model, source)
    if (model.landmarks < 0).any():
        model = transfer_landmarks(model, reference())
    model_checks.check_face(model, source)
    model_checks.check_scaled(model.shape_basis, "the shape basis", source)
    model_checks.check_scaled(model.expression_basis, "the expression basis", source)
    model = _cut(model, how.keep_all)
    model = model if how.keep_holes else close_holes(model)
    model = _settle_landmarks(_subdivide(model, how.subdivisions))
    if model.mean_reflectance is None:
        model = transfer_reflectance(model, reference())
    model = _centered(_with_modes(_with_dark_mouth(model), how))
    return _to_face_model(model, source), list(model.notes)


def _with_surface(model: RawModel, source: str) -> RawModel:
    """Clean triangles, wound outwards, and no vertex without one."""
    triangles, notes = model_checks.mended_surface(model.triangles, source)
    outwards = facing_outwards(triangles, model.mean_shape)
    model = replace(model, notes=(*model.notes, *notes))
    given = {tuple(row) for row in _turned_to_least(model.triangles[:1000]).tolist()}
    kept = {tuple(row) for row in _turned_to_least(outwards).tolist()}
    if len(given & kept) < len(given) / 2:
        model = model.noting("turned the triangles to be counter-clockwise seen from outside")
    return model.keep_triangles(outwards)


def _turned_to_least(triangles: np.ndarray) -> np.ndarray:
    """The same winding, the least corner first."""
    turn = (triangles.argmin(axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(triangles, turn, axis=1)


def _cut(model: RawModel, keep_all: bool) -> RawModel:
    before = model.num_vertices
    if keep_all or model.is_face_region:
        triangles = with_clean_boundary(largest_component(model.triangles))
    else:
        landmarks = model.landmark_positions()
        triangles = frontal_face(model.mean_shape, model.triangles, landmarks)
    model = model.keep_triangles(triangles)
    if model.num_vertices < before:
        what = (
            "the largest connected component"
            if keep_all or model.is_face_region
            else "the frontal face"
        )
        return model.noting(f"cut {what}: {model.num_vertices} of {before} vertices")
    return model


def _subdivide(model: RawModel, steps: int | None) -> RawModel:
    done = 0
    while done != steps and (steps is not None or 4 * model.num_vertices <= _MOST_VERTICES):
        matrix, triangles = loop_subdivision(model.triangles, model.num_vertices)

        def apply(values: np.ndarray, matrix=matrix) -> np.ndarray:
            flat = matrix @ values.reshape(len(values), -1)
            return flat.reshape(-1, *values.shape[1:]).astype(values.dtype)

        model = replace(model, **model.map_vertices(apply, apply), triangles=triangles)
        done += 1
    if done:
        return model.noting(f"subdivided {done} x (Loop) to {model.num_vertices} vertices")
    return model


def _settle_landmarks(model: RawModel) -> RawModel:
    """Moves landmarks along the edges to the vertices nearest to their exact points."""
    if model.landmark_points is None:
        return model
    edges = half_edges(model.triangles)
    landmarks = model.landmarks.copy()
    for i in np.flatnonzero(np.isfinite(model.landmark_points).all(axis=1) & (landmarks >= 0)):
        for _ in range(8):
            around = np.append(edges[(edges == landmarks[i]).any(axis=1)].ravel(), landmarks[i])
            away = np.linalg.norm(model.mean_shape[around] - model.landmark_points[i], axis=1)
            if around[away.argmin()] == landmarks[i]:
                break
            landmarks[i] = around[away.argmin()]
    return replace(model, landmarks=landmarks, landmark_points=None)


def _with_dark_mouth(model: RawModel) -> RawModel:
    """The patch that closes the mouth is dark in everybody."""
    if model.mouth_inside is None:
        return model
    share = np.clip(2 * model.mouth_inside - 0.5, 0, 1)[:, None]
    mean = (1 - share) * model.mean_reflectance + share * _MOUTH_INSIDE
    basis = (1 - share[..., None]) * model.reflectance_basis
    return replace(model, mean_reflectance=mean, reflectance_basis=basis)


def _with_modes(model: RawModel, how: Assembly) -> RawModel:
    counts = {
        "shape_basis": how.num_shape,
        "expression_basis": how.num_expression,
        "reflectance_basis": how.num_reflectance,
    }
    for key, count in counts.items():
        basis = getattr(model, key)
        if how.keep_modes:
            model = replace(model, **{key: basis[..., :count]})
            continue
        modes, kept = orthogonal_modes(basis, count)
        model = replace(model, **{key: modes}).noting(
            f"{key.removesuffix('_basis')}: {modes.shape[-1]} orthogonal modes of "
            f"{basis.shape[-1]} keep {kept:.2%} of the variance"
        )
    return model


def _centered(model: RawModel) -> RawModel:
    known = model.landmarks[17:][model.landmarks[17:] >= 0]
    shift = CENTROID - model.mean_shape[known].mean(axis=0)
    return replace(model, mean_shape=model.mean_shape + shift)


def _to_face_model(model: RawModel, source: str) -> FaceModel:
    floats = (
        "mean_shape",
        "shape_basis",
        "expression_basis",
        "mean_reflectance",
        "reflectance_basis",
    )
    arrays = {key: getattr(model, key).astype(np.float32) for key in floats}
    arrays |= {key: getattr(model, key).astype(np.int32) for key in ("triangles", "landmarks")}
    arrays |= {"name": np.array(model.name), "licence": np.array(model.license)}
    if model.uv is not None:
        arrays["uv"] = model.uv.astype(np.float32)
    return face_model_from_arrays(arrays, source)
