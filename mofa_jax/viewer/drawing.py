"""What the viewer shows of a face, and the files that it saves."""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from mofa_jax.camera import Camera
from mofa_jax.data.faces.crop import resample
from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.editing.repaint import edited_photograph
from mofa_jax.export.faces import MeshWriter
from mofa_jax.export.gltf import METERS_PER_DM
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import overlay_on_photograph
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import rasterize
from mofa_jax.reconstruction.pictured_face import PicturedFace
from mofa_jax.renderer import render
from mofa_jax.results.parameter_file import save_parameters

STEM = "face"  # of the saved files' names
_PICTURE_KIND = "png"  # of the edited photograph that is saved
_PICTURE_SIDE = 480  # px of the edited photograph's part that is shown


def crop_picture(face: PicturedFace) -> np.ndarray:
    """The face in its photograph, uint8 [H, W, 3] of the camera's size."""
    return resample(face.photograph, face.crop_to_photograph, face.cam.image_size[0])


def overlay_picture(
    crop: np.ndarray, params: FaceParams, model: FaceModel, cam: Camera
) -> np.ndarray:
    """The reconstruction over a `crop_picture`, of its size, with smooth edges."""
    return overlay_on_photograph(crop, np.eye(2, 3), params, model, cam)


def edited_picture(face: PicturedFace, params: FaceParams, model: FaceModel) -> np.ndarray:
    """The crop of the photograph with the edited face, uint8 [480, 480, 3]."""
    scale = face.cam.image_size[0] / _PICTURE_SIDE
    edited = edited_photograph(face, params, model)
    return resample(edited, face.crop_to_photograph @ np.diag([scale, scale, 1.0]), _PICTURE_SIDE)


def draft(
    crop: np.ndarray, params: FaceParams, model: FaceModel, cam: Camera
) -> tuple[bytes, np.ndarray]:
    """What can be drawn while a slider moves: the mesh, and an `overlay_picture` with rough edges.

    The mesh is the head in its pose and light as binary glTF, meters, unlit: its colors are the
    estimated ones. The world's origin, about which the head turns, stays the origin.
    """
    drawn = _draft(crop, params, model, cam)
    vertices, colors, picture = (np.asarray(array) for array in drawn)
    mesh = trimesh.Trimesh(vertices, model.triangles, vertex_colors=colors, process=False)
    scene = trimesh.Scene(mesh)
    return trimesh.exchange.gltf.export_glb(scene, tree_postprocessor=_unlit), picture


@jax.jit
def _draft(crop: jax.Array, params: FaceParams, model: FaceModel, cam: Camera):
    """Vertices [N, 3], m; colors [N, 3] and picture [H, W, 3], uint8."""
    rendering = render(params, model, cam)
    encoded = jnp.clip(rendering.color, 0, 1)
    picture, mask = rasterize(rendering.replace(color=encoded), model, cam)
    picture = 255 * picture + (1 - mask[..., None]) * crop
    # glTF's vertex colors are linear; the photograph's are sRGB.
    linear = jnp.where(encoded < 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    offset = params.translation.at[2].add(cam.distance)
    vertices = METERS_PER_DM * (rendering.vertices + offset[None, :])
    return vertices, *(jnp.round(array).astype(jnp.uint8) for array in (255 * linear, picture))


def _unlit(tree: dict) -> None:
    """Tells the reader of a glTF file not to light its only mesh again."""
    extension = "KHR_materials_unlit"
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), extension]
    tree["materials"] = [{"extensions": {extension: {}}, "doubleSided": True}]
    tree["meshes"][0]["primitives"][0]["material"] = 0


def picture_file(face: PicturedFace, params: FaceParams, model: FaceModel) -> tuple[str, bytes]:
    """The edited photograph at its full resolution: a PNG file's ending and content."""
    edited = edited_photograph(face, params, model)
    return _PICTURE_KIND, encode_photograph(edited, _PICTURE_KIND)


def parameters_file(face: PicturedFace, params: FaceParams, model: FaceModel) -> tuple[str, bytes]:
    """The edited code, for `load_parameters`: a JSON file's ending and content.

    The photograph of a code that has changed, or of a face without a photograph's file, is that of
    `picture_file`, beside the JSON file.
    """
    saved = dataclasses.replace(face.saved, params=params)
    changed = not np.array_equal(params.to_code(), face.params.to_code())
    if changed:
        saved = dataclasses.replace(saved, correlation=None)
    if changed or not os.path.isabs(saved.photograph or ""):
        saved = dataclasses.replace(
            saved, photograph=f"{STEM}.{_PICTURE_KIND}", photograph_checksum=None
        )
    return _written(lambda stem: save_parameters(f"{stem}.json", saved))


def mesh_file(face: PicturedFace, params: FaceParams, model: FaceModel) -> tuple[str, bytes]:
    """The edited mesh, textured by the edited photograph: a glTF file's ending and content.

    An OBJ file's with vertex colors if the model has no texture coordinates.
    """
    edited, writer = edited_photograph(face, params, model), MeshWriter.of((), model)
    place = face.crop_to_photograph
    return _written(lambda stem: writer.write(stem, params, edited, place, face.cam))


def _written(write: Callable[[str], None]) -> tuple[str, bytes]:
    """The ending and the content of the one file that `write` writes, given its path's stem."""
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/{STEM}")
        (file,) = Path(folder).iterdir()
        return file.suffix[1:], file.read_bytes()
