"""ICT-FaceKit (Li et al., 2020): a FaceXModel folder of OBJ files, one a morph target.

Centimeters, +x the subject's left, y up, z out of the face. Vertices 0-6705 are the narrow face,
0-9408 the face with ears and front of the neck, 0-11247 all skin. Identity targets are one standard
deviation each; expression targets are blendshapes from 0 to 1.
"""

import json
from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.obj_files import ObjMesh, read_obj, read_obj_vertices
from mofa_jax.face_models.orthogonal_modes import blendshape_modes
from mofa_jax.face_models.raw_model import RawModel

_DM = 0.1  # a centimeter
NARROW_FACE, SKIN = 6706, 11248  # how many of the first vertices
_NEUTRAL, _INDICES = "generic_neutral_mesh.obj", "vertex_indices.json"


def read_ict(folder: Path, keep_all: bool = False, seed: int = 0) -> RawModel:
    """The narrow face, or all skin, of a FaceXModel folder.

    Args:
      folder: holds generic_neutral_mesh.obj, vertex_indices.json, identity000.obj and so on, and
        one OBJ for each expression that vertex_indices.json lists.
      keep_all: all skin instead of the narrow face.
      seed: of the drawn expressions (`blendshape_modes`).

    Raises:
      FaceModelError: something is missing or damaged.
    """
    if not folder.is_dir():
        raise FaceModelError(
            f"{folder}: kind 'ict' reads a FaceXModel folder of OBJ files, found no folder; give "
            "the folder of that name from ICT-FaceKit's repository."
        )
    expressions, landmarks = _read_indices(folder / _INDICES)
    mesh = read_obj(folder / _NEUTRAL)
    identities = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    if not identities:
        raise FaceModelError(f"{folder}: no identity000.obj and so on; copy the whole folder.")
    kept = min(SKIN if keep_all else NARROW_FACE, len(mesh.vertices))
    shape = _targets(identities, mesh, kept)
    blendshapes = _targets([folder / f"{name}.obj" for name in expressions], mesh, kept)
    inside = (mesh.triangles < kept).all(axis=1)
    return RawModel(
        mean_shape=mesh.vertices[:kept] * _DM,
        shape_basis=shape,
        expression_basis=blendshape_modes(blendshapes, expressions, seed),
        triangles=mesh.triangles[inside],
        name="ICT-FaceKit, " + ("all skin" if keep_all else "narrow face"),
        license="MIT, Copyright (c) 2020 USC Institute for Creative Technologies",
        landmarks=np.where(landmarks < kept, landmarks, -1),
        uv=_vertex_uv(mesh, kept, inside),
        is_face_region=not keep_all,
        notes=(
            f"read {len(identities)} identity and {len(expressions)} expression targets, "
            "centimeters",
            "took the second moment of 4000 plausible sparse expressions about the neutral face",
        ),
    )


def _read_indices(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        table = json.loads(path.read_text())
        names, landmarks = table["expressions"], np.array(table["idx_to_landmark_verts"])
        if landmarks.shape != (68,) or not all(isinstance(name, str) for name in names):
            raise ValueError("expected 68 landmarks and expression names")
    except FileNotFoundError as error:
        raise FaceModelError(
            f"{path}: there is no such file, which lists the expressions and landmarks; copy the "
            "whole FaceXModel folder."
        ) from error
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise FaceModelError(
            f"{path}: cannot be read as FaceXModel's index ({error}); copy the whole folder again."
        ) from error
    return names, landmarks


def _targets(paths: list[Path], mesh: ObjMesh, kept: int) -> np.ndarray:
    """[kept, 3, K] displacements from neutral, dm."""
    out = np.empty((kept, 3, len(paths)), np.float32)
    for k, path in enumerate(paths):
        out[..., k] = (read_obj_vertices(path, len(mesh.vertices)) - mesh.vertices)[:kept] * _DM
    return out


def _vertex_uv(mesh: ObjMesh, kept: int, inside: np.ndarray) -> np.ndarray | None:
    """[kept, 2], or None where a vertex of the region lies on a seam."""
    if mesh.triangles_uv is None:
        return None
    corners, coordinates = mesh.triangles[inside].ravel(), mesh.triangles_uv[inside].ravel()
    uv = np.zeros((kept, 2))
    uv[corners] = mesh.uv[coordinates]
    seamless = np.abs(uv[corners] - mesh.uv[coordinates]).max() < 1e-4
    return uv if seamless else None
