"""The errors of every single face, and why there are none of some."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, Protocol, TypeVar

import grain
import jax
import numpy as np
from tqdm import tqdm

from mofa_jax import metrics
from mofa_jax.autoencoder import Decoder, face_errors, project_landmarks
from mofa_jax.camera import REFERENCE_SIZE, head_yaw
from mofa_jax.data.faces.detectors import DetectorError
from mofa_jax.data.feeds.device_batch import keys_of
from mofa_jax.data.feeds.mixture import Example, ExampleSource
from mofa_jax.data.feeds.streamed import read_ahead
from mofa_jax.errors import one_line
from mofa_jax.inference import Predictor
from mofa_jax.numerics import as_floats
from mofa_jax.params import FaceParams

UNITS = {  # of the errors, in the order in which they are shown; px are those of a 240 px crop
    "landmark_error": "px of 240",
    "nme": "% of the eyes' distance",
    "nme_box": "% of the box's side",
    "photometric_error": "RGB in [0, 1]",
    "geometric_error": "mm",
    "scale_bias": "ratio",
    "offset_x": "px of 240",
    "offset_y": "px of 240",
    "eye_opening_bias": "px of 240",
    "mouth_opening_bias": "px of 240",
}
MAIN_ERRORS = ("landmark_error", "nme", "photometric_error", "geometric_error")
_BATCH = 16
_T = TypeVar("_T")


class LabeledSource(ExampleSource, Protocol):
    """Random access to examples that have a name even if they cannot be read."""

    def label_of(self, i: int, /) -> str: ...


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that was evaluated.

    Attributes:
      corpus, index: where it is: its set's name, and its number there.
      name: its own; of one that could not be read what its source calls it.
      errors: by the names of `UNITS`, those that are known and finite.
      yaw: of the head, degrees, see `head_yaw`: true if known, otherwise estimated; NaN without.
      code: [D], None if it could not be read.
      failed: why an error that it should have is missing; "" = none is.
    """

    corpus: str
    index: int
    name: str
    errors: Mapping[str, float]
    yaw: float
    code: np.ndarray | None
    failed: str


def measure(
    predict: Predictor, sets: Mapping[str, LabeledSource], refine_steps: int = 0
) -> Iterator[Face]:
    """The errors of all faces of some sets, in their order, under a bar with the time left.

    A face that cannot be read is named above the bar, and is yielded as one that failed.

    Args:
      predict: the encoder.
      sets: examples by the set's name; with the true `code` if it is known.
      refine_steps: after the encoder, see `Predictor.faces`.
    """
    total = sum(map(len, sets.values()))
    with tqdm(total=total, desc="Evaluating", unit="face") as bar:
        for corpus, source in sets.items():
            examples = read_ahead(grain.MapDataset.source(_Tried(source)), num_threads=1)
            with closing(iter(examples)) as iterator:
                for chunk in _chunks(enumerate(iterator)):
                    read = [(i, found) for i, found in chunk if not isinstance(found, Exception)]
                    faces = _measure_batch(predict, corpus, read, refine_steps) if read else {}
                    for i, found in chunk:
                        face = faces.get(i) or Face(
                            corpus, i, source.label_of(i), {}, np.nan, None, one_line(found)
                        )
                        if face.failed:
                            bar.write(f"failed: {face.failed}", file=sys.stderr)
                        yield face
                    bar.update(len(chunk))


class _Tried:
    """A source that gives the exception where an example cannot be read."""

    def __init__(self, source: ExampleSource):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example | Exception:
        try:
            return self._source[i]
        except DetectorError:  # of every photograph
            raise
        except Exception as error:  # whatever a decoder raises, the others go on
            return error


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _BATCH)):
        yield chunk


def _measure_batch(
    predict: Predictor, corpus: str, examples: list[tuple[int, Example]], refine_steps: int
) -> dict[int, Face]:
    """The faces of at most 16 numbered examples, by number."""
    filled = examples + examples[:1] * (_BATCH - len(examples))  # one program for all
    keys = keys_of(examples[0][1])
    batch = {key: np.stack([example[key] for _, example in filled]) for key in keys}
    codes, count = np.array(predict(batch["image"]).to_code()), len(examples)
    if refine_steps:
        codes[:count] = predict.refined(codes[:count], batch["image"][:count], refine_steps)
    errors = jax.device_get(_errors_of(codes, batch, predict.decoder))
    failed, yaw = errors.pop("failed"), np.degrees(errors.pop("yaw"))
    annotated = errors.pop("annotated")
    faces = {}
    for row, (index, example) in enumerate(examples):
        found = {key: float(errors[key][row]) for key in UNITS if key in errors}
        known = {key: value for key, value in found.items() if np.isfinite(value)}
        name = example["name"]
        reason = f"{name}: {_missing(known, annotated[row], found)}" if failed[row] else ""
        annotated_yaw = example.get("yaw", np.nan)
        best_yaw = float(annotated_yaw if np.isfinite(annotated_yaw) else yaw[row])
        faces[index] = Face(corpus, index, name, known, best_yaw, codes[row], reason)
    return faces


def _missing(known: Mapping[str, float], annotated: bool, wanted: Iterable[str]) -> str:
    """Which errors of a face that failed are not finite."""
    of_landmarks = ("landmark_error",) if annotated else ()
    main = [key for key in ("photometric_error", *of_landmarks, "geometric_error") if key in wanted]
    return f"{', '.join(key for key in main if key not in known)} not finite"


@jax.jit
def _errors_of(codes: jax.Array, batch: dict[str, Any], decoder: Decoder) -> dict[str, jax.Array]:
    """`face_errors` with normalized landmark errors, %, and the head's yaw, rad, [B] each."""
    params = FaceParams.from_code(codes, decoder.model)
    errors = face_errors(params, batch, as_floats(batch["image"]), decoder)
    eyes = jax.vmap(metrics.outer_eye_distance)(batch["landmarks"], batch["confidence"])
    eyes *= REFERENCE_SIZE / decoder.cam.image_size[1]
    screen = project_landmarks(params, decoder.model.at_landmarks(), decoder.cam)
    in_box = jax.vmap(metrics.box_normalized_error, (0, None, 0, 0))(
        screen, decoder.model, batch["landmarks"], batch["confidence"]
    )
    true = FaceParams.from_code(batch["code"], decoder.model) if "code" in batch else params
    return {
        **errors,
        "nme": 100 * errors["landmark_error"] / eyes,
        "nme_box": 100 * in_box,
        "yaw": jax.vmap(head_yaw)(true.rotation),
    }
