"""Imports a published face model: `python -m mofa_jax.import_model KIND SOURCE OUTPUT.npz`."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mofa_jax.errors import errors_as_sentences
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.arrays import UNITS, ArrayFormat, read_arrays
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.bfm2009 import read_bfm2009
from mofa_jax.face_models.bfm2017 import read_bfm2017
from mofa_jax.face_models.flame import read_flame
from mofa_jax.face_models.gnm import read_gnm
from mofa_jax.face_models.ict import read_ict
from mofa_jax.face_models.landmark_vertices import read_landmark_vertices
from mofa_jax.face_models.load import load_face_model
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.transfer import ReferenceFace
from mofa_jax.figures import write_image
from mofa_jax.model_sheet import draw_model_sheet
from mofa_jax.results.names import MODEL_SHEET


@dataclass(frozen=True)
class Kind:
    """A kind of published model: which files it is, and what reads them as the flags say."""

    files: str
    read: Callable[[Path, argparse.Namespace], RawModel]


def _bfm2009(source: Path, options: argparse.Namespace) -> RawModel:
    landmarks = _given_landmarks(options)
    return read_bfm2009(source, options.expression, landmarks, options.keep_all, options.seed)


def _npz(source: Path, options: argparse.Namespace) -> RawModel:
    keys, deviations = dict(options.key), dict(options.deviations)
    return read_arrays(source, ArrayFormat(options.unit, options.axes, keys, deviations))


KINDS = {
    "bfm2009": Kind(
        "Basel Face Model 2009: 01_MorphableModel.mat with Exp_Pca.bin, std_exp.txt and "
        "BFM_exp_idx.mat beside it, or BFM_model_front.mat, or the folder of these",
        _bfm2009,
    ),
    "bfm2017": Kind(
        "Basel Face Model 2017 or 2019: model2017-1_*_nomouth.h5, model2019_*.h5",
        lambda source, options: _relabeled(read_bfm2017(source), options),
    ),
    "ict": Kind(
        "ICT-FaceKit: the FaceXModel folder of OBJ files",
        lambda source, options: _relabeled(
            read_ict(source, options.keep_all, options.seed), options
        ),
    ),
    "gnm": Kind(
        "Google GNM head v3: gnm_head.npz, with head_sparse_68.txt",
        lambda source, options: read_gnm(source, options.landmarks),
    ),
    "flame": Kind(
        "FLAME 2020 or 2023: .pkl or .npz, with landmark_embedding.npy",
        lambda source, options: read_flame(source, options.landmarks),
    ),
    "npz": Kind(
        "arrays that you have: mean_shape, shape_basis, expression_basis, triangles, ...",
        lambda source, options: _relabeled(_npz(source, options), options),
    ),
}
_OF_ARRAYS = "unit", "axes", "key", "deviations"  # flags of kind npz alone
_DESCRIPTION = """\
Turns a published face model into this project's npz format: decimeters, centered, cut to the
frontal face, eyes and mouth closed, modes orthogonal and scaled by their standard deviations, 68
landmarks. Writes a contact sheet (PNG) beside it and says what it did."""


def import_model(
    kind: str, source: Path, options: argparse.Namespace
) -> tuple[FaceModel, list[str]]:
    """Reads a model of a kind and puts it together; returns it and what was done.

    Raises:
      FaceModelError: the files cannot be used; one sentence says why.
    """
    how = Assembly(
        num_shape=options.num_shape,
        num_expression=options.num_expression,
        num_reflectance=options.num_reflectance,
        keep_all=options.keep_all,
        keep_holes=options.keep_holes,
        keep_modes=options.keep_modes,
        subdivisions=options.subdivide,
    )
    raw = KINDS[kind].read(source, options)
    if options.license:
        raw = replace(raw, license=options.license)
    if options.name:
        raw = replace(raw, name=options.name)
    return assemble(raw, str(source), lambda: _reference(options.reflectance_from), how)


def _given_landmarks(options: argparse.Namespace) -> np.ndarray | None:
    return None if options.landmarks is None else read_landmark_vertices(options.landmarks)


def _relabeled(raw: RawModel, options: argparse.Namespace) -> RawModel:
    """The model with the landmarks of the flag's file, if there is one."""
    landmarks = _given_landmarks(options)
    return raw if landmarks is None else replace(raw, landmarks=landmarks)


def _reference(name: str) -> ReferenceFace:
    return ReferenceFace.from_model(load_face_model(name))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    kinds = "\n".join(f"  {kind:8} {of.files}" for kind, of in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m mofa_jax.import_model",
        description=_DESCRIPTION,
        epilog=f"kinds:\n{kinds}\n\nWhere to get the files, and their terms: docs/face_models.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the published file or folder")
    parser.add_argument("output", type=Path, metavar="OUTPUT.npz", help="the model to write")
    _add_general_flags(parser)
    _add_array_flags(parser)
    options = parser.parse_args(arguments)
    if options.output.suffix != ".npz":
        parser.error(f"OUTPUT must end in .npz, not '{options.output.name}'")
    if os.path.realpath(options.output) == os.path.realpath(options.source):
        parser.error("OUTPUT is SOURCE, which would be lost; give another name")
    if options.expression is not None and options.kind != "bfm2009":
        parser.error(f"--expression is of kind bfm2009; a model of kind {options.kind} has its own")
    given = [flag for flag in _OF_ARRAYS if getattr(options, flag) != parser.get_default(flag)]
    if given and options.kind != "npz":
        parser.error(
            f"--{given[0]} is of kind npz; kind {options.kind} is read as it was published"
        )
    for name in ("subdivide", "num_shape", "num_expression", "num_reflectance", "seed"):
        if (getattr(options, name) or 0) < 0:
            flag = name.replace("_", "-")
            parser.error(f"--{flag} is {getattr(options, name)}; give a number, 0 or more")
    return options


def _add_general_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    for name, count in (("shape", 80), ("expression", 64), ("reflectance", 80)):
        add(
            f"--num-{name}", type=int, default=count, metavar="K", help=f"at most (default {count})"
        )
    add("--keep-all", action="store_true", help="the whole head instead of the frontal face")
    add("--keep-holes", action="store_true", help="leave eyes and mouth open")
    add("--keep-modes", action="store_true", help="the publisher's modes in their order")
    add("--subdivide", type=int, metavar="STEPS", help="default: up to 40,000 vertices")
    add(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="68 vertices (.txt, .npy, .anl), GNM's head_sparse_68.txt or FLAME's embedding",
    )
    add(
        "--expression",
        type=Path,
        metavar="PATH",
        help="bfm2009: Exp_Pca.bin, or a folder of OBJ blendshapes with a neutral.obj",
    )
    add(
        "--reflectance-from",
        default="open",
        metavar="MODEL",
        help="the model that gives reflectance and landmarks to one without (default: open)",
    )
    add("--name", help="what to call the model")
    add("--license", help="its terms, in a line")
    add("--seed", type=int, default=0, help="of the drawn expressions and the sheet's people")
    add("--no-sheet", action="store_true", help="write no contact sheet")


def _add_array_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("kind npz")
    group.add_argument("--unit", choices=UNITS, default="dm", help="of the vertices (default dm)")
    group.add_argument(
        "--axes",
        default="+x+y+z",
        help="the file's axes that are the viewer's right, up and out of the face, such as "
        "--axes=+x+z-y (default +x+y+z)",
    )
    group.add_argument(
        "--key",
        action="append",
        type=_pair,
        default=[],
        metavar="OURS=THEIRS",
        help="the file's name of an array, such as mean_shape=v_template",
    )
    group.add_argument(
        "--deviations",
        action="append",
        type=_pair,
        default=[],
        metavar="BASIS=THEIRS",
        help="the file's array of standard deviations to multiply "
        "a basis by, such as shape_basis=sigma_id",
    )


def _pair(text: str) -> tuple[str, str]:
    ours, separator, theirs = text.partition("=")
    if not (ours and separator and theirs):
        raise argparse.ArgumentTypeError(f"'{text}': expected OURS=THEIRS")
    return ours, theirs


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse_arguments(arguments)
    with errors_as_sentences(options.output):
        _import_and_show(options)


def _import_and_show(options: argparse.Namespace) -> None:
    model, notes = import_model(options.kind, options.source, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(options.output)
    for note in notes:
        print(f"- {note}")
    sizes = ", ".join(map(str, model.code_sizes))
    print(
        f"{options.output}: {model.name}; {model.num_vertices} vertices, {len(model.triangles)} "
        f"triangles; {sizes} modes of shape, expression and reflectance"
    )
    if not options.no_sheet:
        sheet = options.output.with_suffix(MODEL_SHEET)
        write_image(sheet, draw_model_sheet(model, options.seed))
        print(f"{sheet}: contact sheet")


if __name__ == "__main__":
    main()
