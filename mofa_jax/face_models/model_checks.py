"""What a model must be before it is taken in: each failure is one sentence with the fix."""

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.surface import without_degenerate, without_non_manifold_edges, wound_alike

_FEW = 1e-3  # the part of the triangles that may be dropped to mend a surface
_MOST_MOTION = 0.5  # dm: no mode of a face moves it further at one standard deviation (r.m.s.)
_LEAST_MOTION = 1e-4  # dm: and the strongest mode not less
_DIMENSIONS = {  # of a vertex
    "mean_shape": (3,),
    "shape_basis": (3,),
    "expression_basis": (3,),
    "mean_reflectance": (3,),
    "reflectance_basis": (3,),
    "uv": (2,),
}
_EYE_DISTANCE = (0.7, 1.1)  # dm between the outer eye corners of an average adult


def check_arrays(model: RawModel, source: str) -> None:
    """Shapes, finite values, triangles and landmarks within range.

    Raises:
      FaceModelError: the first thing that is wrong.
    """
    count = model.num_vertices
    for key, dimensions in _DIMENSIONS.items():
        values = getattr(model, key)
        if values is None:
            continue
        expected = (count, *dimensions)
        if key.endswith("_basis"):
            expected += values.shape[-1:]
        if values.shape != expected:
            raise FaceModelError(
                f"{source}: {key} has shape {values.shape}, expected {expected}; its vertices are "
                "not those of the mean shape: check that the files belong together."
            )
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise FaceModelError(
                f"{source}: {key} holds {bad} NaN or infinite values, expected finite numbers; the "
                "file is damaged: get it again."
            )
    _check_indices(model.triangles, 0, count, "triangles", source)
    _check_indices(model.landmarks, -1, count, "landmarks", source)


def _check_indices(indices: np.ndarray, least: int, count: int, what: str, source: str) -> None:
    if indices.size == 0 or indices.min() < least or indices.max() >= count:
        found = f"{indices.min()} to {indices.max()}" if indices.size else "none"
        raise FaceModelError(
            f"{source}: {what} name vertices {found}, expected {least} to {count - 1}; they belong "
            "to another mesh, or count from one instead of zero: check the file."
        )


def mended_surface(triangles: np.ndarray, source: str) -> tuple[np.ndarray, list[str]]:
    """A surface of consistently wound triangles, and what was done for it.

    A few degenerate triangles or non-manifold edges are dropped; more of them are refused.

    Raises:
      FaceModelError: the mesh is no manifold surface.
    """
    proper = without_degenerate(triangles)
    plain = without_non_manifold_edges(proper)
    dropped = len(proper) - len(plain)
    if dropped > max(_FEW * len(triangles), 2):
        raise FaceModelError(
            f"{source}: {dropped} of {len(triangles)} triangles meet at edges shared by more than "
            "two, expected a manifold surface; mend the mesh (remove doubled faces) before "
            "importing it."
        )
    wound = wound_alike(plain)
    if wound is None:
        raise FaceModelError(
            f"{source}: the triangles cannot all be wound the same way, expected a surface with an "
            "inside and an outside; mend the mesh before importing it."
        )
    notes = []
    if len(plain) < len(triangles):
        notes.append(f"dropped {len(triangles) - len(plain)} degenerate or doubled triangles")
    return wound, notes


def check_face(model: RawModel, source: str) -> None:
    """The landmarks lie as on a face of true size that looks along +z.

    Raises:
      FaceModelError: wrong unit, wrong axes, mirrored or another order of landmarks.
    """
    p = model.landmark_positions()
    if not np.isfinite(p[[8, 30, 33, 36, 45, 48, 54]]).all():
        raise FaceModelError(
            f"{source}: the chin, nose, eye or mouth corners are not among the landmarks; give all "
            "68 with --landmarks."
        )
    distance = np.linalg.norm(p[45] - p[36])
    if not _EYE_DISTANCE[0] <= distance <= _EYE_DISTANCE[1]:
        raise FaceModelError(
            f"{source}: the outer eye corners are {distance * 100:.3g} mm apart, expected "
            f"{_EYE_DISTANCE[0] * 100:.0f} to {_EYE_DISTANCE[1] * 100:.0f}; the unit is wrong "
            "(--unit, of kind npz) or the landmarks belong to another mesh."
        )
    back = p[[36, 45, 48, 54], 2].mean()
    conditions = {
        "the subject's right eye is on the viewer's right (mirrored, or left and right landmarks "
        "swapped)": p[36, 0] < p[45, 0] and p[48, 0] < p[54, 0],
        "the chin is above the nose (upside down, or another order of landmarks)": p[8, 1]
        < p[33, 1],
        "the nose points backwards (inside out, or it looks along -z)": p[30, 2] > back,
    }
    for what, right in conditions.items():
        if not right:
            raise FaceModelError(
                f"{source}: {what}, expected x to the viewer's right, y up and z out of the face; "
                "give the axes (--axes, of kind npz) or the landmarks (--landmarks) that fit."
            )


def check_scaled(basis: np.ndarray, what: str, source: str) -> None:
    """A geometry basis [N, 3, K], dm, is scaled by standard deviations.

    Raises:
      FaceModelError: all modes have the same length (an orthonormal basis), or they move the face
        by meters or by nothing.
    """
    if basis.shape[-1] == 0:
        raise FaceModelError(f"{source}: {what} has no modes, expected at least one; add them.")
    lengths = np.linalg.norm(basis.reshape(-1, basis.shape[-1]).astype(np.float64), axis=0)
    motion = lengths / np.sqrt(len(basis))
    if lengths.size > 1 and np.ptp(lengths) < 1e-3 * lengths.max():
        raise FaceModelError(
            f"{source}: all modes of {what} have the same length, so it is not scaled by its "
            "standard deviations, as expected; multiply it by them, or name them (--deviations, of "
            "kind npz)."
        )
    if not _LEAST_MOTION < motion.max() < _MOST_MOTION:
        raise FaceModelError(
            f"{source}: the strongest mode of {what} moves the face by {motion.max() * 100:.3g} "
            "mm, expected some millimeters; it is not scaled by its standard deviations "
            "(--deviations) or in another unit (--unit, both of kind npz)."
        )
