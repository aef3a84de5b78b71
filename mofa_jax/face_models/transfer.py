"""What a model lacks, taken from another face model: reflectance, and landmarks."""

from dataclasses import dataclass, replace

import numpy as np

from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.nearest import nearest_on_surface
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.registration import register
from mofa_jax.face_models.surface import vertex_normals


@dataclass(frozen=True)
class Donor:
    """The face that gives, as NumPy.

    Attributes:
      vertices: [M, 3], dm; triangles: [F, 3]; landmarks: [68], -1 where unknown.
      mean_reflectance: [M, 3]; reflectance_basis: [M, 3, R].
      name, licence: texts.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    mean_reflectance: np.ndarray
    reflectance_basis: np.ndarray
    name: str
    licence: str

    @classmethod
    def from_model(cls, model: FaceModel) -> "Donor":
        arrays = {key: np.asarray(value) for key, value in model.to_arrays().items()}
        return cls(
            arrays["mean_shape"].astype(np.float64),
            arrays["triangles"].astype(np.int64),
            arrays["landmarks"].astype(np.int64),
            arrays["mean_reflectance"].astype(np.float64),
            arrays["reflectance_basis"].astype(np.float64),
            model.name,
            model.licence,
        )

    def laid_on(self, model: RawModel) -> np.ndarray:
        """[M, 3] the donor's vertices on the other model's surface, dm."""
        landmarks = np.where((self.landmarks >= 0)[:, None], self.vertices[self.landmarks], np.nan)
        return register(
            self.vertices,
            self.triangles,
            landmarks,
            model.mean_shape,
            model.triangles,
            model.landmark_positions(),
        )


def transfer_landmarks(model: RawModel, donor: Donor) -> RawModel:
    """Gives the landmarks that the model does not name, from the donor laid on it."""
    missing = (model.landmarks < 0) & (donor.landmarks >= 0)
    if not missing.any():
        return model
    points = donor.laid_on(model)[donor.landmarks[missing]]
    corners, weights, _ = nearest_on_surface(points, None, model.mean_shape, model.triangles)
    landmarks = model.landmarks.copy()
    landmarks[missing] = corners[np.arange(len(corners)), weights.argmax(axis=1)]
    return replace(model, landmarks=landmarks).noting(
        f"took {missing.sum()} of the 68 landmarks from '{donor.name}' by registration"
    )


def transfer_reflectance(model: RawModel, donor: Donor) -> RawModel:
    """Gives the donor's reflectance to a model without one, from the donor laid on it.

    Both keep their geometry; a vertex beyond the donor's rim takes the rim's colour.
    """
    laid = donor.laid_on(model)
    normals = vertex_normals(model.mean_shape, model.triangles)
    corners, weights, distance = nearest_on_surface(
        model.mean_shape, normals, laid, donor.triangles
    )
    blend = {
        key: np.einsum("pk,pk...->p...", weights, getattr(donor, key)[corners])
        for key in ("mean_reflectance", "reflectance_basis")
    }
    licence = f"geometry: {model.licence}; reflectance: {donor.licence}"
    median, most = np.median(distance) * 100, np.quantile(distance, 0.95) * 100
    return replace(model, **blend, licence=licence).noting(
        f"took the reflectance from '{donor.name}': {median:.2f} mm between the surfaces in the "
        f"middle of all vertices, {most:.2f} mm for 95 % of them"
    )
