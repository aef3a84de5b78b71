"""The Basel Face Model 2009 (Paysan et al., 2009), with an expression basis of other people's.

`01_MorphableModel.mat`: micrometers, +x the subject's left, y up, z out; `shapeMU` [3 N, 1],
`shapePC` [3 N, K] of unit columns, `shapeEV` [K, 1] standard deviations, the same for `tex` (0 to
255), `tl` [F, 3] counted from one; N = 53,490. It has no expressions. Either `Exp_Pca.bin` of
coarse-to-fine face data (Guo et al., 2018: an int32 K, then float32: a mean and K components on
53,215 vertices) with `std_exp.txt` and `BFM_exp_idx.mat` (`trimIndex`: which vertices those are),
or blendshapes on the model's own vertices. `BFM_front_idx.mat` and `facemodel_info.mat` name the
face region of 35,709 vertices, its triangles and 68 landmarks, counted from one.
`BFM_model_front.mat` (Deng et al., 2019) is all of it ready: decimeters, bases scaled.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.obj_files import read_obj_vertices
from mofa_jax.face_models.orthogonal_modes import blendshape_modes, scaled_basis
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.source_files import format_of, read_mat, read_numbers

KIND = "bfm2009"
_DM = 1e-5  # a micrometer
_MODEL, _FRONT = "01_MorphableModel.mat", "BFM_model_front.mat"
_MODEL_KEYS = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
_FRONT_KEYS = ("meanshape", "idBase", "exBase", "meantex", "texBase", "tri", "keypoints")
_LICENSE = "Basel Face Model license: non-commercial research, no redistribution"


def read_bfm2009(
    path: Path,
    expression: Path | None = None,
    landmarks: np.ndarray | None = None,
    keep_all: bool = False,
    seed: int = 0,
) -> RawModel:
    """A 01_MorphableModel.mat or BFM_model_front.mat, or the folder that holds one.

    Args:
      path: the file or folder. The files that belong to 01_MorphableModel.mat lie beside it.
      expression: of 01_MorphableModel.mat, Exp_Pca.bin, or a folder of blendshapes as OBJ files on
        the model's vertices, one of them named neutral.obj or shape_0.obj; None for the Exp_Pca.bin
        beside the model.
      landmarks: [68] vertices of the file's mesh, to be used instead of those that are found.
      keep_all: all of 01_MorphableModel.mat, not the region that BFM_front_idx.mat names.
      seed: of the expressions that are drawn from blendshapes (`blendshape_modes`).

    Raises:
      FaceModelError: a file is missing, damaged or does not fit the others.
    """
    if path.is_dir():
        order = (_MODEL, _FRONT) if keep_all or expression is not None else (_FRONT, _MODEL)
        names = [name for name in order if (path / name).is_file()]
        if not names:
            raise FaceModelError(
                f"{path}: the folder holds neither {_MODEL} nor {_FRONT}; copy one there."
            )
        path = path / names[0]
    found = read_mat(path, [], KIND, ["shapeMU", "meanshape"])
    if "meanshape" in found and expression is not None:
        raise FaceModelError(
            f"{path}: has expressions of its own; leave out --expression, or give {_MODEL}."
        )
    model = _read_front(path) if "meanshape" in found else _read_model(path)
    if landmarks is not None:
        _check_range(landmarks, model.num_vertices, "the landmark file", path)
        model = replace(model, landmarks=landmarks)
    if "meanshape" in found:
        return model
    if expression is not None and expression.is_dir():
        return _with_blendshapes(model, expression, seed)
    return _with_exp_pca(model, path, expression or path.with_name("Exp_Pca.bin"), keep_all)


def _read_front(path: Path) -> RawModel:
    data = read_mat(path, _FRONT_KEYS, KIND)
    count = data["meanshape"].size // 3
    return RawModel(
        mean_shape=data["meanshape"].reshape(-1, 3).astype(np.float64),
        shape_basis=_on_vertices(data["idBase"], count, "idBase", path),
        expression_basis=_on_vertices(data["exBase"], count, "exBase", path),
        triangles=_from_one(data["tri"], count, "tri", path).reshape(-1, 3),
        name="Basel Face Model 2009, frontal face",
        license=_LICENSE,
        landmarks=_from_one(data["keypoints"], count, "keypoints", path),
        mean_reflectance=data["meantex"].reshape(-1, 3).astype(np.float64) / 255,
        reflectance_basis=_on_vertices(data["texBase"], count, "texBase", path) / np.float32(255),
        is_face_region=True,
        notes=(f"read the ready frontal model of {count} vertices, decimeters",),
    )


def _read_model(path: Path) -> RawModel:
    """Without expressions: an expression basis of no modes."""
    data = read_mat(path, _MODEL_KEYS, KIND)
    count = data["shapeMU"].size // 3
    bases = {}
    for part in ("shape", "tex"):
        components = data[f"{part}PC"]
        deviations = data[f"{part}EV"].astype(np.float64).ravel()
        if components.ndim != 2 or components.shape[1] != len(deviations):
            raise FaceModelError(
                f"{path}: {part}PC has shape {components.shape}, expected "
                f"{(3 * count, len(deviations))}; the file is damaged: get it again."
            )
        scaled = scaled_basis(components.astype(np.float32), deviations, f"{part}PC", str(path))
        bases[part] = _on_vertices(scaled, count, f"{part}PC", path)
    return RawModel(
        mean_shape=data["shapeMU"].astype(np.float64).reshape(-1, 3) * _DM,
        shape_basis=bases["shape"] * np.float32(_DM),
        expression_basis=np.zeros((count, 3, 0), np.float32),
        triangles=_from_one(data["tl"], count, "tl", path).reshape(-1, 3),
        name="Basel Face Model 2009",
        license=_LICENSE,
        landmarks=no_landmarks(),
        mean_reflectance=data["texMU"].astype(np.float64).reshape(-1, 3) / 255,
        reflectance_basis=bases["tex"] / np.float32(255),
        notes=(f"read shape and texture of {count} vertices, micrometers",),
    )


def _with_exp_pca(model: RawModel, path: Path, binary: Path, keep_all: bool) -> RawModel:
    if not binary.is_file():
        raise FaceModelError(
            f"{path}: has no expressions, and there is no {binary}; put Exp_Pca.bin, std_exp.txt "
            "and BFM_exp_idx.mat beside the model, or give a folder of blendshapes with "
            "--expression."
        )
    beside = binary.with_name
    trimmed = read_mat(beside("BFM_exp_idx.mat"), ["trimIndex"], KIND)["trimIndex"]
    trimmed = _from_one(trimmed, model.num_vertices, "trimIndex", beside("BFM_exp_idx.mat"))
    basis = _read_exp_pca(binary, beside("std_exp.txt"), len(trimmed))
    place = np.full(model.num_vertices, -1)
    place[trimmed] = np.arange(len(trimmed))
    triangles = place[model.triangles]
    model = model.take(trimmed, triangles[(triangles >= 0).all(axis=1)])
    model = replace(model, expression_basis=basis).noting(
        f"joined {basis.shape[-1]} expression modes of {binary.name}, about the neutral face"
    )
    indices, info = beside("BFM_front_idx.mat"), beside("facemodel_info.mat")
    if keep_all or not (indices.is_file() and info.is_file()):
        return model
    return _front_region(model, indices, info)


def _read_exp_pca(path: Path, deviations_path: Path, count: int) -> np.ndarray:
    """[count, 3, K] expression modes, dm.

    The mean that the file begins with is that of training expressions; it is left out, so that zero
    coefficients are neutral.
    """
    deviations = read_numbers(deviations_path).ravel()
    format_of(path)
    modes = int(np.fromfile(path, "<i4", 1)[0]) if path.stat().st_size >= 4 else 0
    expected = 4 + 4 * 3 * count * (modes + 1)
    if not 0 < modes <= 1000 or path.stat().st_size != expected:
        raise FaceModelError(
            f"{path}: {path.stat().st_size} bytes for {modes} modes on {count} vertices, expected "
            f"{expected}; it is cut short, or not of the coarse-to-fine data: download it again."
        )
    if len(deviations) != modes:
        raise FaceModelError(
            f"{deviations_path}: {len(deviations)} numbers, expected one for each of the {modes} "
            f"modes in {path.name}; take both from the same place."
        )
    components = np.fromfile(path, "<f4", offset=4 + 4 * 3 * count).reshape(modes, count, 3)
    return np.moveaxis(components * (deviations * _DM).astype(np.float32)[:, None, None], 0, -1)


def _front_region(model: RawModel, indices: Path, info: Path) -> RawModel:
    chosen = read_mat(indices, ["idx"], KIND)["idx"]
    chosen = _from_one(chosen, model.num_vertices, "idx", indices)
    data = read_mat(info, ["tri", "keypoints"], KIND)
    front = model.take(chosen, _from_one(data["tri"], len(chosen), "tri", info).reshape(-1, 3))
    if (missing := front.landmarks < 0).any():
        keypoints = _from_one(data["keypoints"], len(chosen), "keypoints", info)
        front = replace(front, landmarks=np.where(missing, keypoints, front.landmarks)).noting(
            f"took {missing.sum()} of the 68 landmarks from {info.name}"
        )
    return replace(front, is_face_region=True).noting(
        f"took the frontal face of {indices.name}: {len(chosen)} vertices, 68 landmarks"
    )


def _with_blendshapes(model: RawModel, folder: Path, seed: int) -> RawModel:
    """Blendshapes as OBJ files on the model's own vertices, micrometers."""
    files = sorted(folder.glob("*.obj"))
    neutral = [path for path in files if path.stem.lower() in ("neutral", "shape_0")]
    if not neutral or len(files) < 2:
        raise FaceModelError(
            f"{folder}: expected OBJ files of blendshapes and one named neutral.obj or "
            f"shape_0.obj, found {len(files)} OBJ files; check the folder."
        )
    rest = read_obj_vertices(neutral[0], model.num_vertices)
    names = [path.stem for path in files if path != neutral[0]]
    shapes = [
        read_obj_vertices(folder / f"{name}.obj", model.num_vertices) - rest for name in names
    ]
    basis = blendshape_modes((np.stack(shapes, axis=-1) * _DM).astype(np.float32), names, seed)
    return replace(model, expression_basis=basis).noting(
        f"joined {len(names)} blendshapes of {folder.name} through plausible sparse expressions"
    )


def _on_vertices(basis: np.ndarray, count: int, what: str, path: Path) -> np.ndarray:
    """[N, 3, K] float32 of the interleaved [3 N, K]."""
    if basis.ndim != 2 or basis.shape[0] != 3 * count:
        raise FaceModelError(
            f"{path}: {what} has shape {basis.shape}, expected ({3 * count}, modes); the file is "
            "damaged: get it again."
        )
    return basis.astype(np.float32).reshape(count, 3, -1)


def _from_one(indices: np.ndarray, count: int, what: str, path: Path) -> np.ndarray:
    """MATLAB's indices of `count` vertices, flat, counted from zero."""
    flat = np.asarray(indices).ravel()
    if flat.size == 0 or flat.dtype.kind not in "iuf" or (flat != np.round(flat)).any():
        raise FaceModelError(f"{path}: {what} holds no indices; the file is damaged: get it again.")
    flat = flat.astype(np.int64) - 1
    _check_range(flat, count, what, path, least=0)
    return flat


def _check_range(indices: np.ndarray, count: int, what: str, path: Path, least: int = -1) -> None:
    if indices.min() < least or indices.max() >= count:
        wrong = indices.min() if indices.min() < least else indices.max()
        raise FaceModelError(
            f"{path}: {what} names vertex {wrong + 1} of {count}; it belongs to another model, or "
            "is damaged."
        )
