"""Photographs as people give them: files, folders, arrays; as many at a time as memory holds."""

import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from mofa_jax.data.sources.images import (
    PhotographError,
    list_photographs,
    read_photograph,
    upright_rgb,
)

_CHUNK = 16  # photographs that are held at once: about a batch of faces
_CHUNK_PIXELS = 50_000_000  # or so many pixels of them
_logger = logging.getLogger(__name__)


def each_photograph(photographs) -> Iterator[tuple[str | int, np.ndarray]]:
    """The arrays with their places, or the photographs of the files that can be read, see
    `Predictor.photographs`."""
    pictures = (np.ndarray, jax.Array, Image.Image)
    one_array = isinstance(photographs, pictures[:2]) and photographs.ndim <= 3
    if one_array or isinstance(photographs, (str, os.PathLike, Image.Image)):
        photographs = [photographs]
    photographs = list(photographs)
    if all(isinstance(photograph, pictures) for photograph in photographs):
        for i, photograph in enumerate(photographs):
            is_pil = isinstance(photograph, Image.Image)
            yield i, upright_rgb(photograph) if is_pil else np.asarray(photograph)
        return
    if any(isinstance(photograph, pictures) for photograph in photographs):
        raise ValueError("photographs are names of files and arrays; give either of them alone.")
    paths = dict.fromkeys(path for name in photographs for path in list_photographs(name))
    for path in paths:
        try:
            yield str(path), read_photograph(path)
        except PhotographError as error:
            _logger.warning("%s", error)


def in_chunks(
    photographs: Iterable[tuple[Any, np.ndarray]],
) -> Iterator[list[tuple[Any, np.ndarray]]]:
    """(key, photograph) pairs, as many at a time as fill a batch of the encoder and fit into
    memory."""
    chunk, pixels = [], 0
    for key, photograph in photographs:
        chunk.append((key, photograph))
        pixels += photograph.size // 3
        if len(chunk) >= _CHUNK or pixels >= _CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
