"""How well an encoder reconstructs faces of which something is known: numbers, curves, pictures.

python -m mofa_jax.evaluate --workdir=RUN                        its own held-out faces
python -m mofa_jax.evaluate --corpus=CORPUS [--workdir=RUN]      those of a prepared corpus
python -m mofa_jax.evaluate --photographs=FOLDER                 photographs with landmarks

Without a run the bundled encoder is evaluated. See docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from mofa_jax import command_line
from mofa_jax.data.feeds.pipeline import open_faces, open_split
from mofa_jax.data.sources.landmark_files import PIXEL_CENTERS
from mofa_jax.encoders.trained import OPEN_ENCODER
from mofa_jax.errors import InputError, errors_as_sentences
from mofa_jax.evaluation.faces import LabeledSource
from mofa_jax.evaluation.photographs import CROPS, PhotographFaces
from mofa_jax.evaluation.results import evaluate_encoder
from mofa_jax.inference import Predictor, load_for_inference


def _sets(
    predict: Predictor, workdir: str | None
) -> tuple[dict[str, LabeledSource], dict[str, Any]]:
    """What the flags name, or else the held-out faces of a run, None for the bundled encoder's, and
    how it was chosen.

    Raises:
      InputError: they name nothing that can be evaluated, or two things at once.
    """
    photographs, corpora, split = _PHOTOGRAPHS.value, _CORPUS.value, _SPLIT.value
    if photographs and corpora:
        raise InputError("both --corpus and --photographs are given; give one of them.")
    without_effect = (_SPLIT,) if photographs else (_CROP, _LANDMARKS, _PIXEL_CENTERS)
    for flag in without_effect:
        if flag.present:
            of = "corpora" if photographs else "--photographs"
            raise InputError(f"--{flag.name} is of {of} alone; leave it out.")
    if photographs:
        crop, file = _CROP.value, _LANDMARKS.value
        source = PhotographFaces(photographs, predict, crop, file, _PIXEL_CENTERS.value)
        return {photographs: source}, {"crop": crop}
    how = (split, predict.model, predict.cam)
    if corpora:
        return {path: open_faces(path, *how) for path in corpora}, {"split": split}
    if workdir is None:
        raise InputError(
            "no faces are given, and those that the bundled encoder was trained with are not "
            "part of it; give --corpus=CORPUS, --photographs=FOLDER, or a run by --workdir=RUN."
        )
    return open_split(predict.config, *how, Path(workdir)), {"split": split}


def _print(summary: Mapping[str, Any]) -> None:
    for key, error in summary["errors"].items():
        numbers = f"{error['mean']:.4g}, median {error['median']:.4g}"
        numbers += f", standard deviation {error['standard_deviation']:.3g}"
        print(f"{key.replace('_', ' ')}: {numbers} ({error['unit']}; {error['count']} faces)")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    command_line.begin()
    workdir = None if _WORKDIR.value == OPEN_ENCODER else _WORKDIR.value
    output = Path(_OUTPUT.value or Path(workdir or "") / "evaluation")
    with errors_as_sentences(output, "Stopped; nothing was written."):
        predict = load_for_inference(workdir, _FACE_MODEL.value)
        sets, settings = _sets(predict, workdir)
        result = evaluate_encoder(
            predict,
            sets,
            output,
            workdir=workdir,
            refine_steps=_REFINE.value,
            group=_GROUP.value,
            settings=settings,
        )
    _print(result["all"])
    if balanced := result["nme_box_over_yaw"]:
        ranges = ", ".join(f"{label}: {value:.4g}" for label, value in balanced.items())
        print(f"nme box by |yaw|, degrees, and the mean of the three: {ranges}")
    print(
        f"{result['all']['num_faces']} faces, {result['all']['num_failed']} failed; "
        f"see {output / 'report.html'}"
    )


if __name__ == "__main__":
    _WORKDIR, _FACE_MODEL = command_line.encoder_flags()
    _CORPUS = flags.DEFINE_multi_string("corpus", [], "A prepared corpus; may be given again.")
    _SPLIT = flags.DEFINE_string("split", "eval", "Of the corpus, in TFDS's words.")
    _PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "A folder of photographs.")
    _LANDMARKS = flags.DEFINE_string(
        "landmarks", None, "Their landmark file, if it is not in the folder."
    )
    _PIXEL_CENTERS = flags.DEFINE_enum(
        "pixel_centers", "integer", sorted(PIXEL_CENTERS), "Where that file puts them."
    )
    _CROP = flags.DEFINE_enum(
        "crop",
        "found",
        CROPS,
        "How photographs are cut: as `reconstruct` does, by the detector's square, or about the "
        "known landmarks.",
    )
    _REFINE = flags.DEFINE_integer(
        "refine", 0, "Steps of refinement after the encoder, as of `reconstruct`.", lower_bound=0
    )
    _GROUP = flags.DEFINE_string(
        "group", "", "Regular expression: errors also by what its group finds in the faces' names."
    )
    _OUTPUT = flags.DEFINE_string("output", None, "Folder; by default `evaluation` in the run.")
    command_line.run(main)
