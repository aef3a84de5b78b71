"""What a model lacks, taken from another face model: reflectance, and landmarks."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.nearest import nearest_on_surface
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.registration import register
from mofa_jax.face_models.surface import edge_ids, vertex_normals

_COVERED = 0.03  # dm: a vertex farther from the reference face's surface is beyond its boundary


@dataclass(frozen=True)
class ReferenceFace:
    """The face that gives, as NumPy.

    Attributes:
      vertices: [M, 3], dm; triangles: [F, 3]; landmarks: [68], -1 where unknown.
      mean_reflectance: [M, 3]; reflectance_basis: [M, 3, R].
      name, license: texts.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    mean_reflectance: np.ndarray
    reflectance_basis: np.ndarray
    name: str
    license: str

    @classmethod
    def from_model(cls, model: FaceModel) -> "ReferenceFace":
        arrays = {key: np.asarray(value) for key, value in model.to_arrays().items()}
        return cls(
            arrays["mean_shape"].astype(np.float64),
            arrays["triangles"].astype(np.int64),
            arrays["landmarks"].astype(np.int64),
            arrays["mean_reflectance"].astype(np.float64),
            arrays["reflectance_basis"].astype(np.float64),
            model.name,
            model.license,
        )

    def laid_on(self, model: RawModel) -> np.ndarray:
        """[M, 3] the reference face's vertices on the other model's surface, dm."""
        landmarks = np.where((self.landmarks >= 0)[:, None], self.vertices[self.landmarks], np.nan)
        return register(
            self.vertices,
            self.triangles,
            landmarks,
            model.mean_shape,
            model.triangles,
            model.landmark_positions(),
        )


def transfer_landmarks(model: RawModel, reference: ReferenceFace) -> RawModel:
    """Gives the landmarks that the model does not name, from the reference laid on it."""
    missing = (model.landmarks < 0) & (reference.landmarks >= 0)
    if not missing.any():
        return model
    points = reference.laid_on(model)[reference.landmarks[missing]]
    corners, weights, _ = nearest_on_surface(points, None, model.mean_shape, model.triangles)
    landmarks = model.landmarks.copy()
    landmarks[missing] = corners[np.arange(len(corners)), weights.argmax(axis=1)]
    return replace(model, landmarks=landmarks).noting(
        f"took {missing.sum()} of the 68 landmarks from '{reference.name}' by registration"
    )


def transfer_reflectance(model: RawModel, reference: ReferenceFace) -> RawModel:
    """Gives the reference face's reflectance to a model without one, from the reference laid on it.

    Both keep their geometry; beyond the reference face's boundary the colors go on smoothly.
    """
    laid = reference.laid_on(model)
    normals = vertex_normals(model.mean_shape, model.triangles)
    corners, weights, distance = nearest_on_surface(
        model.mean_shape, normals, laid, reference.triangles
    )
    blend = {
        key: np.einsum("pk,pk...->p...", weights, getattr(reference, key)[corners])
        for key in ("mean_reflectance", "reflectance_basis")
    }
    covered = distance < _COVERED
    blend = {key: spread_smoothly(value, covered, model.triangles) for key, value in blend.items()}
    license = f"geometry: {model.license}; reflectance: {reference.license}"
    near = distance[covered] * 100
    median, most = (np.quantile(near, share) if near.size else np.inf for share in (0.5, 0.95))
    return replace(model, **blend, license=license).noting(
        f"took the reflectance from '{reference.name}', whose surface lies on {covered.mean():.0%} "
        f"of the vertices, {median:.2f} mm away in the middle, {most:.2f} mm at 95 %"
    )


def spread_smoothly(values: np.ndarray, known: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The values [N, ...] with the unknown ones replaced by harmonic ones over the mesh.

    Each unknown value is the mean of its neighbors' values; the known ones stay.

    Args:
      values: [N, ...].
      known: [N] bool.
      triangles: [F, 3].
    """
    if known.all() or not known.any():
        return values
    edges = edge_ids(triangles)[0]
    size = len(values)
    links = sp.coo_matrix((np.ones(len(edges)), edges.T), (size, size))
    links = sp.csr_matrix(links + links.T)
    # A faint pull to zero difference keeps a part without any known vertex solvable.
    laplacian = sp.csr_matrix(sp.diags(np.asarray(links.sum(axis=1)).ravel() + 1e-9) - links)
    flat = values.reshape(size, -1)
    right = links[~known][:, known] @ flat[known]
    out = flat.copy()
    out[~known] = splu(sp.csc_matrix(laplacian[~known][:, ~known])).solve(right)
    return out.reshape(values.shape)
