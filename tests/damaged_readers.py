"""Which readers are given damaged files: what writes good ones, what reads them, what it may raise.

What a writer or a reader needs is imported when it is called: a process that tries one reader loads
that one's libraries only.
"""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
      write: writes good files into an empty folder.
      read: reads them, given the folder and the one of its files that is damaged.
      errors: names of the project's errors that it may raise; all are ValueErrors.
      count: how many damaged files it is given.
      faithful: whether it gives the very result of the good files, or an error.
    """

    write: Callable[[Path], None]
    read: Callable[[Path, Path], Any]
    errors: tuple[str, ...]
    count: int
    faithful: bool = False


def _write_face_model(folder: Path) -> None:
    from mofa_jax.face_model import face_model_from_arrays
    from mofa_jax.face_models.analytic import analytic_face

    arrays = analytic_face(17, num_shape=2, num_expression=2, num_reflectance=2)
    face_model_from_arrays(arrays, "small face").save(folder / "compressed.npz")
    np.savez(folder / "plain.npz", **arrays)


def _read_face_model(folder: Path, file: Path) -> None:
    from mofa_jax import load_face_model

    load_face_model(file)


def _write_flame_pickle(folder: Path) -> None:
    import pytest
    from face_files import small_face
    from test_import_flame import flame_arrays, write_embedding, write_pickle

    with pytest.MonkeyPatch.context() as patch:
        write_pickle(folder / "flame.pkl", flame_arrays(resolution=17), patch)
    write_embedding(folder / "landmark_embedding.npy", small_face(17))


def _write_flame_npz(folder: Path) -> None:
    from face_files import small_face
    from test_import_flame import flame_arrays, write_embedding

    np.savez(folder / "flame.npz", **flame_arrays(resolution=17))
    write_embedding(folder / "landmark_embedding.pkl", small_face(17), full=False)


def _read_flame(folder: Path, file: Path) -> None:
    from mofa_jax.face_models.flame import read_flame

    embedding = next(folder.glob("landmark_embedding.*"))
    read_flame(next(folder.glob("flame.*")), embedding)


def _write_bfm2009(folder: Path) -> None:
    from test_import_bfm2009 import Published

    Published(folder, "v5").write_front()


def _write_bfm2009_hdf5(folder: Path) -> None:
    from test_import_bfm2009 import Published

    Published(folder, "v7.3").write_front()


def _read_bfm2009(folder: Path, file: Path) -> None:
    from mofa_jax.face_models.bfm2009 import read_bfm2009

    read_bfm2009(folder)


def _write_bfm2017(folder: Path) -> None:
    from face_files import small_face
    from test_import_bfm2017 import write

    write(folder / "model2017-1_face12_nomouth.h5", small_face(17))


def _read_bfm2017(folder: Path, file: Path) -> None:
    from mofa_jax.face_models.bfm2017 import read_bfm2017

    read_bfm2017(file)


def _write_obj(folder: Path) -> None:
    from test_import_ict import write_folder

    write_folder(folder / "ict", 17)


def _read_obj(folder: Path, file: Path) -> None:
    from mofa_jax.face_models.ict import read_ict
    from mofa_jax.face_models.obj_files import read_obj

    if file.suffix == ".obj":
        read_obj(file)
    read_ict(folder / "ict")


def _write_gnm(folder: Path) -> None:
    from test_import_gnm import gnm_arrays, write_landmarks

    face, arrays = gnm_arrays()
    np.savez(folder / "gnm_head.npz", **arrays)
    write_landmarks(folder / "head_sparse_68.txt", face)


def _read_gnm(folder: Path, file: Path) -> None:
    from mofa_jax.face_models.gnm import read_gnm

    read_gnm(folder / "gnm_head.npz", folder / "head_sparse_68.txt")


def _small_layers() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = {"conv1": (4, 3, 5, 5), "conv2": (6, 4, 3, 3), "fc6": (8, 24)}
    return {
        name: [rng.normal(size=shape).astype(np.float32), np.zeros(shape[0], np.float32)]
        for name, shape in shapes.items()
    }


def _write_caffemodel(folder: Path) -> None:
    from weight_files import write_caffemodel

    write_caffemodel(folder / "new.caffemodel", _small_layers(), "AlexNet")
    write_caffemodel(folder / "old.caffemodel", _small_layers(), "AlexNet", v1=True, packed=False)


def _write_torch(folder: Path) -> None:
    import torch

    state = {
        f"{name}.{part}": torch.from_numpy(array)
        for name, arrays in _small_layers().items()
        for part, array in zip(("weight", "bias"), arrays, strict=True)
    }
    for form in ("zip", "legacy"):
        path = folder / f"{form}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")


def _write_matconvnet(folder: Path) -> None:
    import scipy.io

    layers = np.empty((1, 3), object)
    for i, (name, (kernel, bias)) in enumerate(_small_layers().items()):
        weights = np.empty((1, 2), object)
        weights[0, 0], weights[0, 1] = kernel.T, bias[None]
        layers[0, i] = {"type": "conv", "name": name, "weights": weights}
    for compressed in (False, True):
        path = folder / f"compressed_{compressed}.mat"
        scipy.io.savemat(path, {"layers": layers, "meta": {}}, do_compression=compressed)


def _read_weights(folder: Path, file: Path) -> None:
    """As an encoder reads them: by what the file says it is."""
    from mofa_jax.encoders.pretrained import PretrainedWeightsError, file_kind
    from mofa_jax.encoders.pretrained.caffemodel import read_caffemodel
    from mofa_jax.encoders.pretrained.matconvnet import read_matconvnet
    from mofa_jax.encoders.pretrained.torch_file import read_state_dict

    readers = {
        file_kind.CAFFE: read_caffemodel,
        file_kind.MATCONVNET: read_matconvnet,
        file_kind.TORCH: read_state_dict,
    }
    kind = file_kind.file_kind(file)
    if kind not in readers:
        raise PretrainedWeightsError(f"{file}: a {kind} file")
    readers[kind](file)


def _write_photographs(folder: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8).repeat(4, axis=0)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(folder / "a.jpg", exif=exif)
    picture.save(folder / "progressive.jpg", progressive=True, quality=60)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    for form in ("png", "webp", "bmp", "gif", "tiff"):
        picture.save(folder / f"a.{form}")
    picture.save(folder / "lossless.webp", lossless=True)
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg"):
        picture.save(folder / f"{compression}.tif", compression=compression)
    picture.convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")


def _read_photograph(folder: Path, file: Path) -> None:
    from mofa_jax.data.sources.images import read_photograph

    pixels = read_photograph(file)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def _write_environments(folder: Path) -> None:
    import cv2

    sky = np.random.default_rng(0).uniform(0, 9, (12, 24, 3)).astype(np.float32)
    cv2.imwrite(str(folder / "sky.hdr"), sky)
    cv2.imwrite(str(folder / "sky.png"), (20 * sky).astype(np.uint8))


def _read_environment(folder: Path, file: Path) -> None:
    from mofa_jax.data.sources.images import read_environment

    panorama = read_environment(file)
    assert panorama.shape == (128, 256, 3) and np.isfinite(panorama).all()


def _write_videos(folder: Path) -> None:
    import cv2

    for name, code in (("a.avi", "MJPG"), ("b.avi", "XVID"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*code), 10, (64, 48))
        for i in range(4):
            writer.write(np.full((48, 64, 3), 50 * i, np.uint8))
        writer.release()


def _read_video(folder: Path, file: Path) -> None:
    from mofa_jax.data.sources.video import read_frames

    for _, _, frame in read_frames(file):
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3


def _write_landmarks(folder: Path) -> None:
    import json

    from test_landmark_files import points, write_pts

    arrays = {
        "files": np.array(["a.jpg", "b.jpg"]),
        "landmarks": points(),
        "confidence": np.ones((2, 68)),
        "clean": np.ones(2, bool),
    }
    np.savez(folder / "landmarks.npz", **arrays)
    lists = {name: array.tolist() for name, array in arrays.items()}
    (folder / "lists.json").write_text(json.dumps(lists))
    faces = [{"file": "a.jpg", "landmarks68_px": points()[0].tolist()}]
    (folder / "faces.json").write_text(json.dumps({"faces": faces}))
    write_pts(folder / "a.pts", points()[0])


def _read_landmarks(folder: Path, file: Path) -> None:
    from mofa_jax.data.sources.landmark_files import read_landmark_file, read_pts

    if file.suffix == ".pts":
        read_pts(file)
    else:
        read_landmark_file(file)


def _write_aflw2000(folder: Path) -> None:
    from test_aflw2000 import annotated, write_mat

    write_mat(folder / "image00002.mat", annotated(0), 30.0)


def _read_aflw2000(folder: Path, file: Path) -> None:
    from mofa_jax.data.sources.landmark_files import read_aflw2000

    read_aflw2000(file)


def _write_now_box(folder: Path) -> None:
    from test_export_benchmark import write_box

    write_box(folder / "detected_face" / "IMG_0101.npy", left=10, top=20, right=110, bottom=120)


def _read_now_box(folder: Path, file: Path) -> None:
    from mofa_jax.export.benchmarks import read_box

    read_box(file)


def _write_corpus(folder: Path) -> None:
    import shutil

    import tensorflow_datasets as tfds
    from test_corpus import Unnamed

    tfds.disable_progress_bar()
    Unnamed(data_dir=folder, file_format="array_record").download_and_prepare()
    shutil.rmtree(folder / "downloads")


def _read_corpus(folder: Path, file: Path) -> None:
    """The records, each of which may be bad by itself; a damaged count may promise any number."""
    from mofa_jax.data.corpora.record import CorpusError, open_corpus
    from mofa_jax.data.sources.images import PhotographError

    source = open_corpus(next(folder.glob("*/*")), "train")
    for i in range(min(len(source), 12)):
        try:
            source[i]
        except (CorpusError, PhotographError):
            continue


def _write_checkpoint(folder: Path) -> None:
    from configs import compact
    from mofa_jax.face_model import face_model_from_arrays
    from mofa_jax.face_models.analytic import analytic_face
    from mofa_jax.train import train_and_evaluate

    arrays = analytic_face(17, num_shape=2, num_expression=2, num_reflectance=2)
    model = folder.parent / "face_model.npz"
    face_model_from_arrays(arrays, "small face").save(model)
    config = compact.get_config()
    config.face_model, config.data.kind = str(model), "synthetic"
    config.batch_size, config.num_steps, config.data.num_eval = 4, 2, 4
    config.camera.image_size, config.encoder.num_hidden = 120, 32
    config.encoder.widths = [8, 8, 16, 16, 16]
    train_and_evaluate(config, folder / "run")


def _read_checkpoint(folder: Path, file: Path) -> bytes:
    """The step, and the weights' bytes."""
    import jax

    from mofa_jax import load_for_inference

    run = load_for_inference(folder / "run")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(run.weights)]
    return pickle.dumps((run.step, [(leaf.shape, leaf.tobytes()) for leaf in leaves]))


def _write_trained(folder: Path) -> None:
    from mofa_jax.encoders.trained import write_trained

    kernel = np.random.default_rng(0).normal(size=(3, 3, 40, 40))
    weights = {"params": {"conv": {"kernel": kernel, "bias": np.zeros(40)}}}
    write_trained(folder / "encoder.npz", weights, {"step": 3, "config": {"seed": 0}})


def _read_trained(folder: Path, file: Path) -> None:
    from mofa_jax.encoders.trained import read_trained

    read_trained(file)


def _write_parameters(folder: Path) -> None:
    from test_parameter_file import saved_face

    from mofa_jax.results.parameter_file import save_parameters

    save_parameters(folder / "face.json", saved_face((2, 2, 2)))


def _read_parameters(folder: Path, file: Path) -> None:
    from mofa_jax import load_parameters

    load_parameters(file)


_FACE, _WEIGHTS = ("FaceModelError",), ("PretrainedWeightsError",)
READERS = {
    "face model": Reader(_write_face_model, _read_face_model, _FACE, 200),
    "FLAME pickle": Reader(_write_flame_pickle, _read_flame, _FACE, 200),
    "FLAME npz": Reader(_write_flame_npz, _read_flame, _FACE, 150),
    "BFM 2009, MATLAB v5": Reader(_write_bfm2009, _read_bfm2009, _FACE, 150),
    "BFM 2009, MATLAB v7.3": Reader(_write_bfm2009_hdf5, _read_bfm2009, _FACE, 150),
    "BFM 2017": Reader(_write_bfm2017, _read_bfm2017, _FACE, 150),
    "OBJ": Reader(_write_obj, _read_obj, _FACE, 100),
    "GNM": Reader(_write_gnm, _read_gnm, _FACE, 150),
    "Caffe": Reader(_write_caffemodel, _read_weights, _WEIGHTS, 200),
    "PyTorch": Reader(_write_torch, _read_weights, _WEIGHTS, 200),
    "MatConvNet": Reader(_write_matconvnet, _read_weights, _WEIGHTS, 150),
    "photographs": Reader(_write_photographs, _read_photograph, ("PhotographError",), 500),
    "environments": Reader(_write_environments, _read_environment, ("PhotographError",), 150),
    "video": Reader(_write_videos, _read_video, ("VideoError",), 150),
    "landmarks": Reader(_write_landmarks, _read_landmarks, ("LandmarkFileError",), 250),
    "AFLW2000-3D": Reader(_write_aflw2000, _read_aflw2000, ("LandmarkFileError",), 100),
    "boxes of NoW": Reader(_write_now_box, _read_now_box, ("InputError", *_FACE), 100),
    "corpus": Reader(_write_corpus, _read_corpus, ("CorpusError", "PhotographError"), 100),
    "checkpoint": Reader(
        *(_write_checkpoint, _read_checkpoint, ("CheckpointError", "FaceModelError"), 100),
        faithful=True,
    ),
    "parameters": Reader(_write_parameters, _read_parameters, ("ParameterFileError",), 150),
    "trained encoder": Reader(_write_trained, _read_trained, ("TrainedEncoderError",), 100),
}


def files_of(folder: Path) -> Iterator[Path]:
    """The files of a reader, in an order that does not change."""
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))
