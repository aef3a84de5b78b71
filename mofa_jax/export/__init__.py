"""Faces for other programs."""

from mofa_jax.export.meshes import MeshError as MeshError
from mofa_jax.export.meshes import write_glb as write_glb
from mofa_jax.export.meshes import write_obj as write_obj
from mofa_jax.export.meshes import write_ply as write_ply
