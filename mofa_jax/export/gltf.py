"""Textured meshes as binary glTF 2.0, with morph targets and animation; in meters, as it wants."""

import io
import os

import numpy as np
import pygltflib
from flax import struct
from PIL import Image

from mofa_jax.export.meshes import MeshError, checked_mesh, write_content
from mofa_jax.face_models.surface import vertex_normals

METERS_PER_DM = 0.1
_ARRAY_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_COMPONENT_TYPES = {"float32": pygltflib.FLOAT, "uint32": pygltflib.UNSIGNED_INT}
_ALIGNMENT = 4  # bytes


@struct.dataclass
class Morphs:
    """Directions in which a mesh can be deformed, and how far it is: morph targets.

    Attributes:
      names: of K targets; programs show them, and animate by them.
      offsets: [K, N, 3], dm, what a weight of one adds to the vertices.
      weights: [K], those that the mesh is shown with at first.
    """

    names: tuple[str, ...]
    offsets: np.ndarray
    weights: np.ndarray


@struct.dataclass
class Animation:
    """How a mesh moves and deforms: T keyframes, linearly interpolated.

    Attributes:
      times: [T], s, rising.
      weights: [T, K], of the morph targets.
      rotations: [T, 4], unit quaternions (x, y, z, w) that turn the mesh's points.
      translations: [T, 3], dm, after the rotation.
    """

    times: np.ndarray
    weights: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray


def write_glb(
    path: str | os.PathLike,
    vertices: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    texture: np.ndarray,
    morphs: Morphs | None = None,
    animation: Animation | None = None,
) -> None:
    """Writes a binary glTF file.

    Morph targets have no normals of their own: Blender and Unity compute them, others light the
    deformed face by the normals of `vertices`.

    Args:
      path: the file.
      vertices: [N, 3], dm, where all weights are zero.
      triangles: [F, 3] integers, counted from 0.
      uv: [N, 2] texture coordinates, origin bottom-left.
      texture: uint8 [T, T, 3], row 0 on top; stored as JPEG.
      morphs: morph targets.
      animation: of the morph targets and of the mesh's pose.

    Raises:
      MeshError: an array has another shape, holds NaN, or a triangle names a vertex that is not.
    """
    vertices, triangles, _, uv = checked_mesh(path, vertices, triangles, None, uv)
    _check_motion(path, len(vertices), morphs, animation)
    file = _File()
    file.add_mesh(vertices, triangles, uv)
    file.add_skin(texture)
    if morphs is not None and morphs.names:
        file.add_morphs(morphs)
    if animation is not None:
        file.add_animation(animation)
    write_content(path, file.content())


class _File:
    """A glTF file of one mesh, to which arrays are added."""

    def __init__(self) -> None:
        self._gltf = pygltflib.GLTF2(
            scene=0,
            scenes=[pygltflib.Scene(nodes=[0])],
            nodes=[pygltflib.Node(name="face", mesh=0)],
            meshes=[pygltflib.Mesh(name="face")],
        )
        self._parts, self._length = [], 0

    def add_mesh(self, vertices: np.ndarray, triangles: np.ndarray, uv: np.ndarray) -> None:
        normals = vertex_normals(vertices, triangles)
        normals[~normals.any(axis=1)] = 0, 0, 1  # of unit length, as the format wants all
        attributes = pygltflib.Attributes(
            POSITION=self._add(vertices * METERS_PER_DM, pygltflib.ARRAY_BUFFER, bounds=True),
            NORMAL=self._add(normals, pygltflib.ARRAY_BUFFER),
            TEXCOORD_0=self._add(uv * [1, -1] + [0, 1], pygltflib.ARRAY_BUFFER),  # from the top
        )
        corners = self._add(triangles.ravel(), pygltflib.ELEMENT_ARRAY_BUFFER, dtype="uint32")
        self._gltf.meshes[0].primitives = [
            pygltflib.Primitive(attributes=attributes, indices=corners, material=0)
        ]

    def add_skin(self, texture: np.ndarray) -> None:
        picture = io.BytesIO()
        Image.fromarray(texture).save(picture, "JPEG", quality=92)
        image = pygltflib.Image(bufferView=self._view(picture.getvalue()), mimeType="image/jpeg")
        skin = pygltflib.PbrMetallicRoughness(
            baseColorTexture=pygltflib.TextureInfo(index=0), metallicFactor=0.0, roughnessFactor=0.9
        )
        self._gltf.images, self._gltf.textures = [image], [pygltflib.Texture(source=0)]
        self._gltf.materials = [pygltflib.Material(name="skin", pbrMetallicRoughness=skin)]

    def add_morphs(self, morphs: Morphs) -> None:
        mesh = self._gltf.meshes[0]
        mesh.primitives[0].targets = [
            pygltflib.Attributes(
                POSITION=self._add(offsets * METERS_PER_DM, pygltflib.ARRAY_BUFFER, bounds=True)
            )
            for offsets in np.asarray(morphs.offsets)
        ]
        mesh.weights = np.asarray(morphs.weights, float).tolist()
        mesh.extras = {"targetNames": list(morphs.names)}

    def add_animation(self, animation: Animation) -> None:
        times = self._add(animation.times, bounds=True)
        tracks = {
            "weights": np.ravel(animation.weights),
            "rotation": animation.rotations,
            "translation": np.asarray(animation.translations) * METERS_PER_DM,
        }
        if not tracks["weights"].size:  # a model without expressions
            del tracks["weights"]
        moved = pygltflib.Animation(name="clip", samplers=[], channels=[])
        for k, (name, values) in enumerate(tracks.items()):
            sampler = pygltflib.AnimationSampler(input=times, output=self._add(values))
            target = pygltflib.AnimationChannelTarget(node=0, path=name)
            moved.samplers.append(sampler)
            moved.channels.append(pygltflib.AnimationChannel(sampler=k, target=target))
        self._gltf.animations = [moved]

    def content(self) -> bytes:
        self._gltf.buffers = [pygltflib.Buffer(byteLength=self._length)]
        self._gltf.set_binary_blob(b"".join(self._parts))
        return b"".join(self._gltf.save_to_bytes())

    def _add(
        self,
        values: np.ndarray,
        target: int | None = None,
        bounds: bool = False,
        dtype: str = "float32",
    ) -> int:
        """Adds an array [n] or [n, c]; the number of its accessor."""
        values = np.ascontiguousarray(values, dtype)
        columns = np.ascontiguousarray(values.reshape(len(values), -1).T)  # fast to go through
        accessor = pygltflib.Accessor(
            bufferView=self._view(values.tobytes(), target),
            componentType=_COMPONENT_TYPES[dtype],
            count=len(values),
            type=_ARRAY_TYPES[len(columns)],
            min=columns.min(axis=1).tolist() if bounds else None,
            max=columns.max(axis=1).tolist() if bounds else None,
        )
        self._gltf.accessors.append(accessor)
        return len(self._gltf.accessors) - 1

    def _view(self, content: bytes, target: int | None = None) -> int:
        """Adds bytes; the number of their buffer view."""
        start, padding = self._length, -len(content) % _ALIGNMENT
        self._parts.append(content + bytes(padding))
        self._length += len(content) + padding
        self._gltf.bufferViews.append(
            pygltflib.BufferView(buffer=0, byteOffset=start, byteLength=len(content), target=target)
        )
        return len(self._gltf.bufferViews) - 1


def _check_motion(
    path: str | os.PathLike, count: int, morphs: Morphs | None, animation: Animation | None
) -> None:
    """Raises MeshError if the arrays do not fit a mesh of `count` vertices, or each other."""
    if animation is not None and morphs is None:
        raise MeshError(f"{path}: an animation needs morph targets; give `morphs`.")
    if morphs is None:
        return
    targets = len(morphs.names)
    expected = {"morphs.offsets": (targets, count, 3), "morphs.weights": (targets,)}
    arrays = {"morphs.offsets": morphs.offsets, "morphs.weights": morphs.weights}
    if animation is not None:
        frames = len(animation.times)
        shapes = {"times": (frames,), "weights": (frames, targets)}
        shapes |= {"rotations": (frames, 4), "translations": (frames, 3)}
        expected |= {f"animation.{name}": shape for name, shape in shapes.items()}
        arrays |= {f"animation.{name}": getattr(animation, name) for name in shapes}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.shape != expected[name]:
            raise MeshError(f"{path}: {name} has shape {array.shape}, expected {expected[name]}.")
        if not np.isfinite(array).all():
            raise MeshError(f"{path}: {name} holds NaN or infinite values; nothing was written.")
