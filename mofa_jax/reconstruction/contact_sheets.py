"""Pictures that show many reconstructed faces at once."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mofa_jax.figures import PANELS, contact_sheet, write_image
from mofa_jax.results.names import CONTACT_SHEET

_MOST = 200  # faces on a sheet
_SIDE = 120  # px of a panel
_SHOWN = ("input", "overlay", "geometry")


class ContactSheets:
    """Sheets in a folder, contact_sheet-1.jpg and on, each of up to 200 faces; none of a single
    face. Input, overlay and geometry of each face stand under its name."""

    def __init__(self, folder: str | Path):
        self._folder, self._tiles, self._written = Path(folder), [], 0

    def add(self, faces: Iterable[tuple[str, np.ndarray]]) -> None:
        """Adds (name, `figures.five_panels`) of faces."""
        for name, panels in faces:
            self._tiles.append(_tile(name, panels))
            if len(self._tiles) == _MOST:
                self._write()

    def finish(self) -> None:
        """Writes the faces that are on no sheet yet, and removes sheets of a larger run before."""
        if self._tiles and len(self._tiles) + self._written > 1:
            self._write()
        later = itertools.count(self._written + 1) if self._written else ()
        for path in itertools.takewhile(Path.exists, map(self._path, later)):
            path.unlink()

    def _write(self) -> None:
        self._written += 1
        write_image(self._path(self._written), _sheet(self._tiles))
        self._tiles = []

    def _path(self, number: int) -> Path:
        return self._folder / CONTACT_SHEET.format(number)


def _tile(name: str, panels: np.ndarray) -> np.ndarray:
    parts = dict(zip(PANELS, np.split(panels, len(PANELS), axis=1), strict=True))
    shown = np.concatenate([parts[panel] for panel in _SHOWN], axis=1)
    size = (_SIDE * len(_SHOWN), _SIDE)
    return contact_sheet([cv2.resize(shown, size, interpolation=cv2.INTER_AREA)], [name])


def _sheet(tiles: list[np.ndarray]) -> np.ndarray:
    columns = max(1, round(math.sqrt(len(tiles) / 2)))
    rows = (tiles[k : k + columns] for k in range(0, len(tiles), columns))
    return contact_sheet([np.concatenate(row, axis=1) for row in rows])
