"""Faces for other programs."""

from mofa_jax.export.gltf import Animation as Animation
from mofa_jax.export.gltf import Morphs as Morphs
from mofa_jax.export.gltf import write_glb as write_glb
from mofa_jax.export.meshes import MeshError as MeshError
from mofa_jax.export.meshes import write_obj as write_obj
from mofa_jax.export.meshes import write_ply as write_ply
