"""Textured meshes as binary glTF 2.0, with morph targets and animation; in meters, as it wants.

trimesh writes the mesh; pygltflib adds what trimesh cannot write.
"""

import os
import threading

import numpy as np
import pygltflib
from flax import struct
from PIL import Image

from mofa_jax.export.meshes import MeshError, checked_mesh, write_content

METERS_PER_DM = 0.1
_READING = threading.Lock()  # pygltflib silences warnings in all threads while it reads
_ARRAY_TYPES = {None: "SCALAR", 3: "VEC3", 4: "VEC4"}


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
    import trimesh  # takes longer to import than most of this package

    vertices, triangles, _, uv = checked_mesh(path, vertices, triangles, None, uv)
    _check_motion(path, len(vertices), morphs, animation)
    picture = Image.fromarray(texture)
    picture.format, picture.encoderinfo = "JPEG", {"quality": 92}  # as trimesh saves it
    material = trimesh.visual.material.PBRMaterial(
        name="skin", baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=0.9
    )
    mesh = trimesh.Trimesh(
        vertices * METERS_PER_DM,
        triangles,
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        process=False,
    )
    content = trimesh.exchange.gltf.export_glb(trimesh.Scene({"face": mesh}), include_normals=True)
    if morphs is not None:
        file = _Extended(content)
        file.add_morphs(morphs)
        if animation is not None:
            file.add_animation(animation)
        content = file.content()
    write_content(path, content)


class _Extended:
    """The glTF file of one mesh, to which arrays are added."""

    def __init__(self, content: bytes):
        with _READING:
            self._gltf = pygltflib.GLTF2.load_from_bytes(content)
        self._arrays = [self._gltf.binary_blob()]
        self._length = len(self._arrays[0])

    def add_morphs(self, morphs: Morphs) -> None:
        mesh = self._gltf.meshes[0]
        mesh.primitives[0].targets = [
            pygltflib.Attributes(POSITION=self._add(offsets * METERS_PER_DM, bounds=True))
            for offsets in np.asarray(morphs.offsets)
        ]
        mesh.weights = np.asarray(morphs.weights, float).tolist()
        mesh.extras["targetNames"] = list(morphs.names)

    def add_animation(self, animation: Animation) -> None:
        node = next(k for k, node in enumerate(self._gltf.nodes) if node.mesh is not None)
        times = self._add(animation.times, bounds=True)
        tracks = {
            "weights": np.ravel(animation.weights),
            "rotation": animation.rotations,
            "translation": np.asarray(animation.translations) * METERS_PER_DM,
        }
        moved = pygltflib.Animation(name="clip", samplers=[], channels=[])
        for k, (name, values) in enumerate(tracks.items()):
            sampler = pygltflib.AnimationSampler(input=times, output=self._add(values))
            target = pygltflib.AnimationChannelTarget(node=node, path=name)
            moved.samplers.append(sampler)
            moved.channels.append(pygltflib.AnimationChannel(sampler=k, target=target))
        self._gltf.animations = [moved]

    def content(self) -> bytes:
        self._gltf.set_binary_blob(b"".join(self._arrays))
        self._gltf.buffers[0].byteLength = self._length
        return b"".join(self._gltf.save_to_bytes())

    def _add(self, values: np.ndarray, bounds: bool = False) -> int:
        """Adds an array [n] or [n, c]; the number of its accessor."""
        values = np.ascontiguousarray(values, np.float32)
        columns = np.ascontiguousarray(values.reshape(len(values), -1).T)  # fast to go through
        view = pygltflib.BufferView(buffer=0, byteOffset=self._length, byteLength=values.nbytes)
        accessor = pygltflib.Accessor(
            bufferView=len(self._gltf.bufferViews),
            componentType=pygltflib.FLOAT,
            count=len(values),
            type=_ARRAY_TYPES[values.shape[1] if values.ndim == 2 else None],
            min=columns.min(axis=1).tolist() if bounds else None,
            max=columns.max(axis=1).tolist() if bounds else None,
        )
        self._gltf.bufferViews.append(view)
        self._gltf.accessors.append(accessor)
        self._arrays.append(values.tobytes())
        self._length += values.nbytes
        return len(self._gltf.accessors) - 1


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
