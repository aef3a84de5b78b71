"""A reconstructed face's meshes, textured by its photograph or colored by the model."""

from collections.abc import Sequence

import jax
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.export.meshes import write_glb, write_obj, write_ply
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.renderer import compiled_render
from mofa_jax.texture import check_uv, photograph_texture

MESHES = ("glb", "obj", "ply")

_TEXTURE_SIZE = 512  # texels
_geometry = jax.jit(lambda params, model: model.geometry(params.shape, params.expression))


def mesh_kinds(wanted: Sequence[str], model: FaceModel) -> list[str]:
    """What is wanted of `MESHES`; by default glTF, or OBJ if the model has no texture coordinates.

    Raises:
      TextureError: glTF files are wanted of a model without texture coordinates.
    """
    kinds = list(wanted) or ["obj" if model.uv is None else "glb"]
    if "glb" in kinds:
        check_uv(model)
    return kinds


def write_meshes(
    stem: str,
    kinds: Sequence[str],
    params: FaceParams,
    photograph: np.ndarray,
    crop_to_photograph: np.ndarray,
    model: FaceModel,
    cam: Camera,
) -> None:
    """Writes `stem`.glb, .obj and .ply, those of `kinds`.

    Args:
      stem: the files' path without its ending.
      kinds: see `mesh_kinds`.
      params: one face's code.
      photograph: uint8 [H, W, 3] RGB, for the texture of the glTF file.
      crop_to_photograph: [2, 3], the affine map from the crop's pixels to the photograph's.
      model: the face model.
      cam: the camera of the crop.
    """
    vertices = _geometry(params, model)
    if "glb" in kinds:
        texture = photograph_texture(
            photograph, crop_to_photograph, params, model, cam, _TEXTURE_SIZE
        )
        write_glb(f"{stem}.glb", vertices, model.triangles, model.uv, texture)
    if not {"obj", "ply"} & set(kinds):
        return
    color = compiled_render(params, model, cam).color
    if "obj" in kinds:
        write_obj(f"{stem}.obj", vertices, model.triangles, color, model.uv)
    if "ply" in kinds:
        write_ply(f"{stem}.ply", vertices, model.triangles, color)
