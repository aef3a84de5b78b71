"""Face crops on disk: a memory-mapped `.npy` of images and an index `.npz`, and their view."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np

from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.faces.extract import Face
from mofa_jax.data.sources.groups import group_rank


class FolderError(ValueError):
    """A folder gives no faces, or not enough for what is asked; the message names it."""


@dataclasses.dataclass(frozen=True)
class FolderCorpus:
    """Random access to n face crops: `corpus[i] -> dict(image, landmarks, confidence, name)`.

    images: uint8 [m, 240, 240, 3], memory-mapped; row `rows[i]` belongs to face i.
    names [n]: the photograph's path below the folder, `#k` after it for its k-th further face.
    sources [n]: the photograph's path. groups [n]: who it is, see `prepare_folder`.
    landmarks: float32 [n, 68, 2], continuous crop px. confidence: float32 [n, 68], 0 = absent.
    to_photograph: float64 [n, 2, 3], crop px -> photograph px.
    boxes: float64 [n, 4] (x, y, w, h), photograph px.
    skipped [k, 2]: (name, reason) of each photograph that gave no face.
    """

    images: np.ndarray
    rows: np.ndarray
    names: np.ndarray
    sources: np.ndarray
    groups: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray
    to_photograph: np.ndarray
    boxes: np.ndarray
    skipped: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict:
        return {
            "image": np.array(self.images[self.rows[i]]),
            "landmarks": self.landmarks[i],
            "confidence": self.confidence[i],
            "name": str(self.names[i]),
        }

    def subset(self, indices: np.ndarray) -> FolderCorpus:
        """Return a view of some faces, in the order given."""
        chosen = {
            field.name: getattr(self, field.name)[indices]
            for field in dataclasses.fields(self)
            if field.name not in ("images", "skipped")
        }
        return dataclasses.replace(self, **chosen)

    def split(
        self, eval_fraction: float | None = None, eval_count: int | None = None, seed: int = 0
    ) -> tuple[FolderCorpus, FolderCorpus]:
        """Split into (train, eval) with no group on both sides.

        Groups are ranked by a hash of the seed and their name, so the order of files plays no part.
        `eval_fraction`: the groups in the first fraction of the hash's range, so that adding
        photographs moves no group. `eval_count`: the first groups that hold that many faces.

        Raises:
          FolderError: one of the two sides would be empty.
        """
        if (eval_fraction is None) == (eval_count is None):
            raise ValueError("give either eval_fraction or eval_count")
        names, members = np.unique(self.groups, return_inverse=True)
        ranks = np.array([group_rank(seed, name) for name in names])
        if eval_fraction is not None:
            held_out = ranks < eval_fraction
        else:
            order = np.argsort(ranks)
            before = np.cumsum(np.bincount(members)[order]) - np.bincount(members)[order]
            held_out = np.zeros(len(names), bool)
            held_out[order] = before < eval_count
        is_eval = held_out[members]
        if is_eval.all() or not is_eval.any():
            raise FolderError(
                f"{len(self)} faces in {len(names)} groups cannot be split into training and "
                f"evaluation (eval_fraction={eval_fraction}, eval_count={eval_count}); "
                "add photographs or change the share"
            )
        return self.subset(np.flatnonzero(~is_eval)), self.subset(np.flatnonzero(is_eval))


class CropWriter:
    """Writes crops one by one under a temporary name; `close` puts both files in place.

    Used as a context manager it removes the temporary file if it was not closed.
    """

    def __init__(self, stem: Path):
        self._images_path, self._index_path = _paths(stem)
        self._temporary = stem.with_name(f"{stem.name}.{os.getpid()}.tmp")
        self._file = open(self._temporary, "wb")  # noqa: SIM115 closed by `close` or `__exit__`
        self._rows: list[tuple] = []
        self._write_header()

    def __enter__(self) -> CropWriter:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, face: Face, *, name: str, source: str, group: str) -> None:
        """Append one face."""
        self._file.write(np.ascontiguousarray(face.crop.image).tobytes())
        crop = face.crop
        self._rows.append(
            (name, source, group, face.landmarks, face.confidence, crop.to_photograph, crop.box)
        )

    def close(self, fingerprint: str, skipped: list[tuple[str, str]]) -> None:
        """Finish both files and give them their names, the index last."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        keys = ("names", "sources", "groups", "landmarks", "confidence", "to_photograph", "boxes")
        columns = [np.array(column) for column in zip(*self._rows, strict=True)]
        index = dict(zip(keys, columns, strict=True))
        index["skipped"] = np.array(skipped, str).reshape(-1, 2)
        self._index_path.unlink(missing_ok=True)
        os.replace(self._temporary, self._images_path)
        temporary = self._index_path.with_suffix(f".{os.getpid()}.tmp")
        with open(temporary, "wb") as file:
            np.savez(file, fingerprint=fingerprint, **index)
        os.replace(temporary, self._index_path)

    def _write_header(self) -> None:
        """Write the `.npy` header; NumPy pads it so that its length is the same for every count."""
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (len(self._rows), CROP_SIZE, CROP_SIZE, 3),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def load_crops(stem: Path, fingerprint: str) -> FolderCorpus | None:
    """Open what `CropWriter` stored; None if it is absent, damaged or of another fingerprint."""
    images_path, index_path = _paths(stem)
    try:
        with open(index_path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            index = dict(stored.items())
        if str(index.pop("fingerprint")) != fingerprint:
            return None
        images = np.load(images_path, mmap_mode="r", allow_pickle=False)
        corpus = FolderCorpus(images=images, rows=np.arange(len(images)), **index)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return corpus if len(images) == len(corpus.names) else None


def _paths(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(stem.name + ".npy"), stem.with_name(stem.name + ".npz")
