"""The frontal face cut out of the base mesh, its eyes and mouth closed by patches.

A patch's vertices are fixed linear combinations of the boundary's vertices (the lids, the lips), so
a patch moves with its boundary and a linear model of the boundary is a linear model of the patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from tools.open_model.makehuman import BaseMesh, MakeHumanAssets

EYEBALL_RADIUS = 0.125  # dm, of an adult eye


@dataclass(frozen=True)
class Patch:
    """Vertices that close one hole: rows of ribs between the opposite sides of its boundary.

    Attributes:
      rows: [R, C] vertex indices in the coarse mesh, from the upper boundary to the lower one.
      corners: the two coarse vertices where the boundary's sides meet, x falling.
    """

    rows: np.ndarray
    corners: tuple[int, int]


@dataclass(frozen=True)
class Region:
    """The coarse control mesh of the face.

    Attributes:
      kept: [K] base-mesh vertices of the skin, the coarse mesh's first K vertices.
      quads: [F, 4] over the n coarse vertices.
      same_axis: [n, K] sparse: coarse coordinates from the kept vertices', axis by axis.
      depth_from_height: [n, K] sparse: what heights of the boundary add to a patch's depth (z from
      y). uv: [n, 2] MakeHuman's texture coordinates.
      eyes: patches of the subject's left (+x) and right eye.
      mouth: the patch between the lips.
    """

    kept: np.ndarray
    quads: np.ndarray
    same_axis: sp.csr_matrix
    depth_from_height: sp.csr_matrix
    uv: np.ndarray
    eyes: tuple[Patch, Patch]
    mouth: Patch

    def coarse(self, base: np.ndarray) -> np.ndarray:
        """Coarse positions or displacements [n, 3] from those of the base mesh [19158, 3]."""
        kept = base[self.kept]
        out = self.same_axis @ kept
        out[:, 2] += self.depth_from_height @ kept[:, 1]
        return out


def uv_islands(mesh: BaseMesh) -> np.ndarray:
    """[F] island of each quad in the texture's layout."""
    sides = np.stack([mesh.quads_uv, np.roll(mesh.quads_uv, -1, axis=1)], -1).reshape(-1, 2)
    size = len(mesh.uv)
    graph = sp.coo_matrix((np.ones(len(sides)), sides.T), (size, size))
    return connected_components(graph, directed=False)[1][mesh.quads_uv[:, 0]]


def border_loops(quads: np.ndarray) -> list[np.ndarray]:
    """Closed loops of the open border, each in the order of the faces' winding."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2).tolist()
    directed = {tuple(side) for side in sides}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        vertex, loop = min(following), []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return loops


def cut_region(assets: MakeHumanAssets, mesh: BaseMesh, average: np.ndarray) -> Region:
    """The face without ears, neck and skull; `average` [19158, 3] is the shape that fixes it."""
    islands = uv_islands(mesh)
    center = average[mesh.quads].mean(1)
    front = np.argmax(center[:, 2] * (np.abs(center[:, 0]) < 0.05) * (center[:, 1] > 6.5))
    ears = _sample(assets.mask("mpfb_ears"), mesh.uv[mesh.quads_uv].mean(1)) > 0.3
    near = (center[:, 2] > 0.33) & (center[:, 1] < 8.25)
    chosen, chosen_uv = _largest_component(mesh, (islands == islands[front]) & near & ~ears)
    kept = np.unique(chosen)
    place = np.full(len(average), -1)
    place[kept] = np.arange(len(kept))
    builder = _PatchBuilder(average[kept], len(kept))
    patches = [builder.close(place[loop]) for loop in _holes(chosen, average)]
    uv = np.zeros((len(average), 2))
    uv[chosen] = mesh.uv[chosen_uv]
    same, depth = builder.matrices()
    quads = np.concatenate([place[chosen], *builder.quads])
    return Region(kept, quads, same, depth, same @ uv[kept], tuple(patches[:2]), patches[2])


def _sample(mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return mask[row, np.clip((uv[:, 0] * width).astype(int), 0, width - 1)]


def _largest_component(mesh: BaseMesh, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads, and the same with indices into the texture's points, of the largest connected part."""
    quads = mesh.quads[wanted]
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2)
    size = quads.max() + 1
    label = connected_components(sp.coo_matrix((np.ones(len(sides)), sides.T), (size, size)))[1]
    part = label[quads[:, 0]]
    largest = part == np.bincount(part).argmax()
    return quads[largest], mesh.quads_uv[wanted][largest]


def _holes(quads: np.ndarray, average: np.ndarray) -> list[np.ndarray]:
    """Rims of the left eye, the right eye and the mouth among the border's loops."""
    loops = sorted(border_loops(quads), key=lambda loop: np.ptp(average[loop], axis=0).max())
    eyes = sorted(loops[:2], key=lambda loop: -average[loop, 0].mean())
    return [*eyes, loops[2]]


class _PatchBuilder:
    """Adds patch vertices as combinations of boundary vertices, and the quads between them."""

    def __init__(self, positions: np.ndarray, count: int):
        self.positions, self.count, self.next = positions, count, count
        self.quads: list[np.ndarray] = []
        self._same: list[tuple[int, int, float]] = [(i, i, 1.0) for i in range(count)]
        self._depth: list[tuple[int, int, float]] = []

    def close(self, boundary: np.ndarray) -> Patch:
        """A patch inside `boundary`: three rows of vertices between upper and lower side."""
        half = len(boundary) // 2
        spans = self.positions[boundary, 0] - self.positions[np.roll(boundary, -half), 0]
        start = int(np.argmax(spans))
        boundary = np.roll(boundary, -start)
        sides = [boundary[1:half], boundary[half + 1 :][::-1]]
        upper, lower = sorted(sides, key=lambda side: -self.positions[side, 1].mean())
        is_eye = np.ptp(self.positions[boundary, 0]) < 0.3
        inner = [
            [self._rib_vertex(a, b, share, is_eye) for a, b in zip(upper, lower, strict=True)]
            for share in (0.25, 0.5, 0.75)
        ]
        patch = Patch(np.array([upper, *inner, lower]), (int(boundary[0]), int(boundary[half])))
        self._add_quads(patch)
        return patch

    def _rib_vertex(self, upper: int, lower: int, share: float, is_eye: bool) -> int:
        """A vertex at `share` of the way down; eyes bulge like an eyeball, the mouth goes in."""
        vertex, self.next = self.next, self.next + 1
        self._same += [(vertex, upper, 1 - share), (vertex, lower, share)]
        hole = self.positions[upper, 1] - self.positions[lower, 1]
        if is_eye:
            cap = hole * share * (1 - share) * hole / (2 * EYEBALL_RADIUS)
            slope = np.clip(cap / max(hole, 1e-3), 0, 0.2)
        else:
            slope = -1.8 * share * (1 - share)
        self._depth += [(vertex, upper, slope), (vertex, lower, -slope)]
        return vertex

    def _add_quads(self, patch: Patch) -> None:
        rows = patch.rows
        body = np.stack([rows[:-1, :-1], rows[:-1, 1:], rows[1:, 1:], rows[1:, :-1]], -1)
        ends = []
        for corner, column in zip(patch.corners, (0, -1), strict=True):
            for r in range(0, len(rows) - 1, 2):
                a, b, c = rows[r : r + 3, column]
                ends.append([corner, a, b, c] if column == 0 else [corner, c, b, a])
        quads = np.concatenate([body.reshape(-1, 4), np.array(ends)])
        corners = self.positions[patch.rows[[0, 0, -1], [0, -1, 0]]]
        facing = np.cross(corners[1] - corners[0], corners[2] - corners[0])[2]
        self.quads.append(quads if facing > 0 else quads[:, ::-1])

    def matrices(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """(same axis, depth from height), each [n, kept]."""
        shape = (self.next, self.count)
        built = []
        for entries in (self._same, self._depth):
            row, column, value = (np.array(part) for part in zip(*entries, strict=True))
            built.append(sp.csr_matrix((value, (row, column)), shape))
        return built[0], built[1]
