"""A reconstructed face's meshes, textured by its photograph or colored by the model."""

import dataclasses
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.export.gltf import Animation, Morphs, write_glb
from mofa_jax.export.meshes import write_obj, write_ply
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.renderer import compiled_render
from mofa_jax.texture import TextureLayout, photograph_texture, texture_layout

MESHES = ("glb", "obj", "ply")

_TEXTURE_SIZE = 512  # texels
_MORPHS = 16  # leading modes of expression: 99.4 % of the open model's variance; 0.3 MB each
_geometry = jax.jit(lambda params, model: model.geometry(params.shape, params.expression))


@dataclasses.dataclass(frozen=True)
class MeshWriter:
    """Writes the meshes of the faces of one model.

    Attributes:
      kinds: those of `MESHES` that are written.
      model: the face model.
      layout: of the glTF files' textures; None where none is written.
    """

    kinds: Sequence[str]
    model: FaceModel
    layout: TextureLayout | None

    @classmethod
    def of(cls, wanted: Sequence[str], model: FaceModel) -> "MeshWriter":
        """Of what is wanted; by default glTF, or OBJ if the model has no texture coordinates.

        Raises:
          TextureError: glTF files are wanted of a model without texture coordinates.
        """
        kinds = list(wanted) or ["obj" if model.uv is None else "glb"]
        return cls(kinds, model, texture_layout(model, _TEXTURE_SIZE) if "glb" in kinds else None)

    def write(
        self,
        stem: str,
        params: FaceParams,
        photograph: np.ndarray,
        crop_to_photograph: np.ndarray,
        cam: Camera,
    ) -> None:
        """Writes `stem`.glb, .obj and .ply, those of `kinds`.

        The glTF file has the leading modes of expression as morph targets, see `expression_morphs`.

        Args:
          stem: the files' path without its ending.
          params: one face's code.
          photograph: uint8 [H, W, 3] RGB, for the texture of the glTF file.
          crop_to_photograph: [2, 3], the affine map from the crop's pixels to the photograph's.
          cam: the camera of the crop.
        """
        model = self.model
        if self.layout is not None:
            place = photograph, crop_to_photograph
            texture = photograph_texture(*place, params, model, cam, layout=self.layout)
            vertices, morphs = expression_morphs(params, model)
            write_glb(f"{stem}.glb", vertices, model.triangles, model.uv, texture, morphs)
        if not {"obj", "ply"} & set(self.kinds):
            return
        vertices, color = _geometry(params, model), compiled_render(params, model, cam).color
        if "obj" in self.kinds:
            write_obj(f"{stem}.obj", vertices, model.triangles, color, model.uv)
        if "ply" in self.kinds:
            write_ply(f"{stem}.ply", vertices, model.triangles, color)


def write_animated_mesh(
    path: str | os.PathLike,
    params: FaceParams,
    photograph: np.ndarray,
    crop_to_photograph: np.ndarray,
    model: FaceModel,
    cam: Camera,
    animation: Animation,
) -> None:
    """Writes a glTF file of a face that moves; arguments as of `MeshWriter.write`.

    `animation` has weights for all modes of expression [T, X]; the leading ones move.
    """
    texture = photograph_texture(photograph, crop_to_photograph, params, model, cam, _TEXTURE_SIZE)
    vertices, morphs = expression_morphs(params, model)
    animation = animation.replace(weights=animation.weights[:, : len(morphs.names)])
    write_glb(path, vertices, model.triangles, model.uv, texture, morphs, animation)


def expression_morphs(params: FaceParams, model: FaceModel) -> tuple[np.ndarray, Morphs]:
    """A face whose leading modes of expression are morph targets, named expression_01 and on.

    A weight is the mode's coefficient, in standard deviations.

    Args:
      params: one face's code.
      model: the face model.

    Returns:
      The vertices [N, 3], dm, of the face with these coefficients zero; the targets, weighted by
      the coefficients.
    """
    count = min(_MORPHS, len(params.expression))
    resting = params.replace(expression=jnp.asarray(params.expression).at[:count].set(0.0))
    first = model.num_shape_modes
    offsets = np.swapaxes(np.asarray(model.geometry_modes[first : first + count]), 1, 2)
    names = tuple(f"expression_{k:02}" for k in range(1, count + 1))
    return _geometry(resting, model), Morphs(names, offsets, np.asarray(params.expression[:count]))
