"""How a corpus is made: everything that its records depend on, and what each worker needs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any

from ml_collections import ConfigDict

from mofa_jax.data.corpora.record import ENCODINGS
from mofa_jax.data.faces.crop import FaceDetector
from mofa_jax.data.faces.find import Finder
from mofa_jax.data.faces.landmark_detector import make_landmark_detector
from mofa_jax.data.faces.quality import Pruning
from mofa_jax.data.sources.items import Item, Source
from mofa_jax.data.sources.landmark_files import LandmarkTable, read_landmark_file

_FORMAT = 1  # of the staged chunks; a higher number makes every one anew


class RecipeError(ValueError):
    """A config asks for something impossible; the message says what and the mend."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A preparation's settings; see configs/corpora/default.py for what each field means."""

    source: Source
    pruning: Pruning
    crop: str
    landmark_file: str
    pixel_centers: str
    landmark_detector: str
    max_pixels: int
    encoding: str
    jpeg_quality: int
    eval_count: int
    eval_fraction: float
    seed: int

    @classmethod
    def from_config(cls, config: ConfigDict) -> Recipe:
        """The recipe of a config of configs/corpora.

        Raises:
          SourceError, RecipeError: a field's value is impossible.
        """
        recipe = cls(
            source=Source(**config.source),
            pruning=Pruning(**config.pruning),
            crop=config.crop,
            landmark_file=config.landmarks.file,
            pixel_centers=config.landmarks.pixel_centers,
            landmark_detector=config.landmarks.detector,
            max_pixels=config.detector.max_pixels,
            encoding=config.encoding,
            jpeg_quality=config.jpeg_quality,
            eval_count=config.eval_count,
            eval_fraction=config.eval_fraction,
            seed=config.seed,
        )
        if recipe.encoding not in ENCODINGS:
            raise RecipeError(
                f"encoding is {recipe.encoding!r}; choose one of {', '.join(ENCODINGS)}"
            )
        if bool(recipe.eval_count) == bool(recipe.eval_fraction) or recipe.eval_fraction >= 1:
            raise RecipeError(
                f"eval_count is {recipe.eval_count} and eval_fraction {recipe.eval_fraction}; set "
                "one of them, a number of faces or a share below 1, and the other to 0"
            )
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return dataclasses.asdict(self)

    def digest(self, items: tuple[Item, ...]) -> str:
        """A name for what these items give: it changes with a file or a setting of the search."""
        settings = self.to_dict()
        for key in ("eval_count", "eval_fraction", "seed"):
            del settings[key]
        settings["source"].pop("path")
        stamps = [(item.path.hex(), item.name, item.group, item.stamp) for item in items]
        content = json.dumps([_FORMAT, settings, stamps, _stamp_of(self.landmark_file)])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@functools.cache
def make_finder(recipe: Recipe) -> Finder:
    """This process's finder.

    Raises:
      LandmarkDetectorError, LandmarkFileError: the landmarks cannot be had.
    """
    table = LandmarkTable({})
    if recipe.landmark_file:
        table = read_landmark_file(recipe.landmark_file, recipe.pixel_centers)
    return Finder(
        detector=FaceDetector(max_pixels=recipe.max_pixels),
        landmarks=make_landmark_detector(recipe.landmark_detector),
        table=table,
        pruning=recipe.pruning,
        crop=recipe.crop,
    )


def _stamp_of(file: str) -> str:
    """Return a digest of a landmark file's content, "" without one."""
    if not file:
        return ""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
