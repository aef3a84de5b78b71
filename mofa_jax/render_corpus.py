"""Writes a corpus of synthetic faces: a TFDS data set in ArrayRecord files, with the truth.

python -m mofa_jax.render_corpus --config=configs/synthetic.py --output=corpora/synthetic
"""

import os
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from mofa_jax import command_line
from mofa_jax.camera import make_camera
from mofa_jax.data.corpora.record import ENCODINGS, SPLITS
from mofa_jax.data.corpora.writer import CorpusWriteError, ShardedCorpus, lock_file
from mofa_jax.data.synthetic.backgrounds import backgrounds_from_config
from mofa_jax.data.synthetic.corpus import (
    NAME,
    SHARD_SIZE,
    Scene,
    corpus_settings,
    shard_records,
    synthetic_features,
)
from mofa_jax.data.synthetic.distributions import ranges_from_config
from mofa_jax.errors import InputError, errors_as_sentences
from mofa_jax.face_models.load import load_face_model
from mofa_jax.files.writing import locked
from mofa_jax.processes import configure_logging


def render_corpus(
    config: ConfigDict,
    output: str | os.PathLike[str],
    *,
    count: int,
    eval_count: int,
    encoding: str = "jpeg",
    vertices: bool = False,
) -> None:
    """Renders the faces that are not in `output` yet.

    Args:
      config: its seed, face model, camera and `data.synthetic` say what is rendered.
      output: the data set's folder; `<output>.incomplete` until it is whole.
      count: faces to train on.
      eval_count: held-out faces, of other keys and before other photographs.
      encoding: of the pictures, "jpeg" or "png".
      vertices: whether the true geometry is stored beside the code.

    Raises:
      CorpusWriteError: `output` holds something else, or the disk is full.
      FaceModelError, PhotographError: the config names something unusable.
    """
    counts = {"train": count, "eval": eval_count}
    for split, number in counts.items():
        if number < 1:
            raise CorpusWriteError(f"the split '{split}' is to have {number} faces; give 1 or more")
    scene = _scene(config)
    with locked(lock_file(Path(os.path.abspath(output)))):
        corpus = ShardedCorpus(
            output,
            NAME,
            synthetic_features(scene.model, scene.cam, encoding, vertices),
            counts,
            SHARD_SIZE,
            corpus_settings(scene, config.seed, counts, encoding, vertices),
        )
        missing = corpus.missing()
        total = sum(counts.values())
        done = total - sum(shard.length for shard in missing)
        with tqdm(total=total, initial=done, desc="Rendering", unit="face") as bar:
            for shard in missing:
                records = shard_records(shard, scene, config.seed, encoding, vertices)
                corpus.write(shard, _counted(records, bar))
        if not corpus.is_complete:
            corpus.finish(f"Faces rendered with the face model '{scene.model.name}'.")
    print(f"{output}: {count} faces to train on, {eval_count} held out.")


def _scene(config: ConfigDict) -> Scene:
    model, cam = load_face_model(config.face_model), make_camera(config.camera)
    if not (model.landmarks >= 0).any():
        raise InputError(
            f"face model '{model.name}' has no landmark, which an example needs; import it with "
            "--landmarks, or from a model that has them."
        )
    return Scene(
        model,
        cam,
        ranges_from_config(config.data.synthetic),
        {split: backgrounds_from_config(config, cam, split) for split in SPLITS},
    )


def _counted(records: Iterator[bytes], bar: tqdm) -> Iterator[bytes]:
    for record in records:
        yield record
        bar.update()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    configure_logging()
    stopped = "Stopped; the same command goes on after the finished shards."
    with errors_as_sentences(_OUTPUT.value, stopped):
        render_corpus(
            _CONFIG.value,
            _OUTPUT.value,
            count=_COUNT.value,
            eval_count=_EVAL_COUNT.value,
            encoding=_ENCODING.value,
            vertices=_VERTICES.value,
        )


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
    _OUTPUT = flags.DEFINE_string("output", None, "Folder of the corpus.")
    _COUNT = flags.DEFINE_integer("count", 100_000, "Faces to train on (the paper's number).")
    _EVAL_COUNT = flags.DEFINE_integer("eval_count", 5_000, "Held-out faces.")
    _ENCODING = flags.DEFINE_enum("encoding", "jpeg", ENCODINGS, "Of the pictures.")
    _VERTICES = flags.DEFINE_bool("vertices", False, "Store the true vertices too (150 kB a face).")
    flags.mark_flags_as_required(["config", "output"])
    command_line.run(main)
