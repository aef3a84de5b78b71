"""How a corpus is made: everything that its records depend on, and what each worker needs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from typing import Any

from ml_collections import ConfigDict

from mofa_jax.data.corpora.record import ENCODINGS
from mofa_jax.data.faces.detectors import FaceDetector, make_landmark_detector
from mofa_jax.data.faces.find import Finder, Options
from mofa_jax.data.faces.quality import NO_PRUNING, Pruning
from mofa_jax.data.sources.items import Item, Source
from mofa_jax.data.sources.landmark_files import (
    LandmarkFileError,
    LandmarkTable,
    find_landmark_file,
    read_landmark_file,
)
from mofa_jax.errors import InputError
from mofa_jax.files.writing import file_checksum

_FORMAT = 2  # of the staged chunks; a higher number makes every one anew


class RecipeError(InputError):
    """A config asks for something impossible; the message says what and the fix."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A preparation's settings; see configs/corpora/default.py for what each field means."""

    source: Source
    pruning: Pruning
    options: Options
    landmark_file: str
    pixel_centers: str
    landmark_detector: str
    max_pixels: int
    encoding: str
    jpeg_quality: int
    eval_count: int
    eval_fraction: float
    seed: int

    def __post_init__(self):
        if self.encoding not in ENCODINGS:
            raise RecipeError(
                f"encoding is {self.encoding!r}; choose one of {', '.join(ENCODINGS)}"
            )
        for name, value, least in (
            ("image_size", self.options.image_size, 8),
            ("detector.max_pixels", self.max_pixels, 10_000),
            ("eval_count", self.eval_count, 0),
            ("eval_fraction", self.eval_fraction, 0),
        ):
            if not value >= least:
                raise RecipeError(f"{name} is {value}; give at least {least:,}")
        if bool(self.eval_count) == bool(self.eval_fraction) or self.eval_fraction >= 1:
            raise RecipeError(
                f"eval_count is {self.eval_count} and eval_fraction {self.eval_fraction}; set "
                "one of them, a number of faces or a share below 1, and the other to 0"
            )

    @classmethod
    def from_config(cls, config: ConfigDict) -> Recipe:
        """The recipe of a config of configs/corpora.

        Raises:
          SourceError, RecipeError: a field's value is impossible.
        """
        source = Source(**config.source)
        return cls(
            source=source,
            pruning=Pruning(**config.pruning),
            options=Options(crop=config.crop, image_size=config.image_size),
            landmark_file=_known_landmarks(config.landmarks.file, source),
            pixel_centers=config.landmarks.pixel_centers,
            landmark_detector=config.landmarks.detector,
            max_pixels=config.detector.max_pixels,
            encoding=config.encoding,
            jpeg_quality=config.jpeg_quality,
            eval_count=config.eval_count,
            eval_fraction=config.eval_fraction,
            seed=config.seed,
        )

    @classmethod
    def of_folder(cls, data: ConfigDict, image_size: int) -> Recipe:
        """The recipe by which a folder of photographs is prepared for training.

        Every face that the detector finds is kept, in lossless PNG; no landmarks are detected.

        Args:
          data: `config.data`, see configs/default.py.
          image_size: side of the crops, px.

        Raises:
          SourceError, RecipeError, ValueError: a field's value is impossible.
        """
        if not 0 < data.eval_fraction < 1:
            raise RecipeError(
                f"data.eval_fraction is {data.eval_fraction}; give a share between 0 and 1"
            )
        source = Source(path=data.path, group_pattern=data.group_pattern, group_by="stem")
        return cls(
            source=source,
            pruning=NO_PRUNING,
            options=Options(
                crop=data.crop,
                faces=data.faces,
                require_landmarks=data.require_landmarks,
                only_clean=data.only_clean,
                image_size=image_size,
            ),
            landmark_file=_known_landmarks(data.landmarks, source),
            pixel_centers=data.pixel_centers,
            landmark_detector="none",
            max_pixels=2_000_000,
            encoding="png",
            jpeg_quality=0,
            eval_count=0,
            eval_fraction=data.eval_fraction,
            seed=0,
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return dataclasses.asdict(self)

    def digest(self, items: tuple[Item, ...], landmark_stamp: str) -> str:
        """A name for what these items give: it changes with a file or a setting of the search.

        landmark_stamp: of the landmark file, see `landmark_stamp`.
        """
        settings = self.to_dict()
        for key in ("eval_count", "eval_fraction", "seed"):
            del settings[key]
        settings["source"].pop("path")
        stamps = [(item.path.hex(), item.name, item.group, item.stamp) for item in items]
        content = json.dumps([_FORMAT, settings, stamps, landmark_stamp])
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    def fingerprint(self, items: tuple[Item, ...], landmark_stamp: str) -> str:
        """A name for all that a corpus of these items depends on; see `digest`."""
        settings = self.to_dict()
        settings["source"].pop("path")
        content = json.dumps([settings, self.digest(items, landmark_stamp)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def _known_landmarks(file: str, source: Source) -> str:
    """The landmark file: the one that is given, else that in the folder of the files, if any."""
    if not file and source.kind != "tfds":
        file = find_landmark_file(source.path) or ""
    return os.fspath(file)


def make_finder(recipe: Recipe) -> Finder:
    """This process's finder, made once for a recipe and its landmark file as it is.

    Raises:
      DetectorError, LandmarkFileError: the landmarks cannot be had.
    """
    changed = None
    if recipe.landmark_file and os.path.isfile(recipe.landmark_file):
        status = os.stat(recipe.landmark_file)
        changed = status.st_size, status.st_mtime_ns
    return _make_finder(recipe, changed)


@functools.lru_cache(maxsize=2)
def _make_finder(recipe: Recipe, changed: tuple[int, int] | None) -> Finder:
    table = LandmarkTable({})
    if recipe.landmark_file:
        table = read_landmark_file(recipe.landmark_file, recipe.pixel_centers)
    if recipe.options.only_clean and not table.has_clean:
        raise LandmarkFileError(
            f"{recipe.landmark_file or recipe.source.path}: only_clean needs a landmark file with "
            "the key 'clean'"
        )
    return Finder(
        detector=FaceDetector(max_pixels=recipe.max_pixels),
        landmarks=make_landmark_detector(recipe.landmark_detector),
        table=table,
        pruning=recipe.pruning,
        options=recipe.options,
    )


def landmark_stamp(recipe: Recipe) -> str:
    """A digest of the content of a recipe's landmark file, "" without one."""
    return file_checksum(recipe.landmark_file) if recipe.landmark_file else ""
