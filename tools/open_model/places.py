"""Where the parts of a face lie on the fine mesh: soft masks [N] in [0, 1].

Coordinates are the average face's in MakeHuman's frame (dm, y up, +x the subject's left).
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.sparse as sp

from mofa_jax.face_models.surface import vertex_normals
from tools.open_model.makehuman import MakeHumanAssets
from tools.open_model.refine import FineMesh
from tools.open_model.region import Patch, Region

IRIS_CENTRE = (0.289, 7.350)
IRIS_RADIUS = 0.054
_BROW = np.array(
    [[0.085, 7.478], [0.150, 7.512], [0.235, 7.538], [0.335, 7.551], [0.440, 7.533], [0.530, 7.470]]
)
_BROW_HALF_WIDTH = np.array([0.024, 0.030, 0.031, 0.027, 0.019, 0.008])
# Base-mesh vertices inside the subject's left nostril.
_NOSTRILS = np.array([*range(7105, 7116), *range(7141, 7159)])


class Places:
    """Masks on the average face; every method returns [N] values."""

    def __init__(self, assets: MakeHumanAssets, region: Region, fine: FineMesh, coarse: np.ndarray):
        self.points = fine.matrix @ coarse
        self.side = np.abs(self.points[:, 0])
        self._assets, self._region, self._fine, self._coarse = assets, region, fine, coarse
        self._uv = fine.matrix @ region.uv
        self._neighbors = _averaging(fine.triangles, len(self.points))
        self.normals = vertex_normals(self.points, fine.triangles)

    def smooth(self, values: np.ndarray, passes: int) -> np.ndarray:
        """`values` [N, ...] averaged with their one-ring `passes` times."""
        for _ in range(passes):
            values = 0.5 * values + 0.5 * (self._neighbors @ values)
        return values

    def concavity(self, passes: int) -> np.ndarray:
        """How deep the surface lies below its smoothed self, dm, 0 where it bulges."""
        offset = self.smooth(self.points, passes) - self.points
        return np.maximum((offset * self.normals).sum(1), 0)

    def bump(self, x: float, y: float, width: float, height: float | None = None) -> np.ndarray:
        """A Gaussian on both sides of the front of the face."""
        dx = (self.side - x) / width
        dy = (self.points[:, 1] - y) / (height or width)
        return np.exp(-0.5 * (dx**2 + dy**2))

    def lips(self) -> np.ndarray:
        mask = cv2.GaussianBlur(self._assets.mask("mpfb_lips"), (0, 0), 1.2)
        height, width = mask.shape
        place = (self._uv * [width, -height] + [0, height]).astype(np.float32) - 0.5
        values = cv2.remap(mask, place[:, None, 0], place[:, None, 1], cv2.INTER_LINEAR)[:, 0]
        return values * (1 - self.patch(self._region.mouth)[0])

    def patch(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """(inside the patch, share of the way from its upper to its lower boundary)."""
        inside, share = (np.zeros(len(self._coarse)) for _ in range(2))
        inside[patch.rows[1:-1]] = 1
        share[patch.rows] = np.linspace(0, 1, len(patch.rows))[:, None]
        inside = self._fine.matrix @ inside
        return smoothstep(inside, 0.08, 0.35), self._fine.matrix @ share

    def eyes(self) -> tuple[np.ndarray, np.ndarray]:
        """As `patch`, for both eyes together."""
        parts = [self.patch(eye) for eye in self._region.eyes]
        return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]

    def mouth(self) -> tuple[np.ndarray, np.ndarray]:
        return self.patch(self._region.mouth)

    def iris(self, shift: tuple[float, float], radius: float) -> np.ndarray:
        """Distance from the center of the nearer iris over its radius; eyes move together."""
        center = np.where(self.points[:, 0] > 0, 1, -1) * IRIS_CENTRE[0] + shift[0]
        dx = self.points[:, 0] - center
        return np.hypot(dx, self.points[:, 1] - IRIS_CENTRE[1] - shift[1]) / radius

    def lid_line(self, upper: bool, width: float, offset: float = 0.0) -> np.ndarray:
        """Around the lid's margin, `offset` dm away from the eye."""
        patch = self._region.eyes[0]
        boundary = self._coarse[patch.rows[0 if upper else -1]]
        boundary = boundary[np.argsort(boundary[:, 0])][:, :2] + [0, offset if upper else -offset]
        distance, _ = self._to_curve(boundary)
        front = self.points[:, 2] > 1.15
        return np.exp(-((distance / width) ** 2)) * front * (1 - self.eyes()[0])

    def brow(self, thickness: float, lift: float) -> np.ndarray:
        """The brow's hair, `thickness` 1 for an ordinary one, moved up by `lift` dm."""
        distance, along = self._to_curve(_BROW + np.array([0, lift]))
        half = thickness * np.interp(along, np.linspace(0, 1, len(_BROW)), _BROW_HALF_WIDTH)
        density = np.interp(along, [0, 0.12, 0.5, 1], [0.6, 0.95, 1.0, 0.75])
        return density * np.exp(-((distance / half) ** 4) * 0.7) * (self.points[:, 2] > 0.9)

    def nostrils(self) -> np.ndarray:
        inside = np.isin(self._region.kept, _NOSTRILS).astype(float)
        inside += np.isin(self._assets.mirror()[self._region.kept], _NOSTRILS)
        patches = np.zeros(len(self._coarse) - len(inside))
        return smoothstep(self._fine.matrix @ np.concatenate([inside, patches]), 0.15, 0.8)

    def beard(self) -> np.ndarray:
        """Cheeks' lower part, jaw, chin and the boundary under it, without lips and moustache."""
        x, y = self.side, self.points[:, 1]
        upper = 6.66 + 0.62 * np.clip((x - 0.22) / 0.42, 0, None) ** 1.8
        below = smoothstep(upper - y, -0.05, 0.07)
        chin = smoothstep(np.hypot(x / 0.25, (y - 6.66) / 0.118), 0.85, 1.4)
        return self.smooth(below * chin, 6) * (1 - self.lips())

    def moustache(self) -> np.ndarray:
        y = self.points[:, 1]
        band = smoothstep(y, 6.735 - 0.25 * self.side, 6.775 - 0.25 * self.side)
        band *= smoothstep(-y, -6.885 + 0.35 * self.side**1.2, -6.855 + 0.35 * self.side**1.2)
        sides = 1 - smoothstep(self.side, 0.17, 0.30)
        philtrum = 1 - 0.45 * np.exp(-((self.side / 0.02) ** 2))
        front = self.points[:, 2] > 1.25
        hair = self.smooth(band * sides * philtrum * front, 5)
        return hair * (1 - self.lips()) * (1 - self.nostrils())

    def freckles(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Small spots where the sun reaches: cheeks, nose, forehead."""
        sunny = self.bump(0.28, 7.08, 0.22, 0.16) + 0.6 * self.bump(0, 7.1, 0.12, 0.2)
        sunny += 0.35 * self.bump(0.2, 7.75, 0.4, 0.2)
        sunny *= 1 - np.clip(self.eyes()[0] + self.lips(), 0, 1)
        centers = rng.choice(len(self.points), count, p=sunny / sunny.sum())
        spots = np.zeros(len(self.points))
        for center in centers:
            squared = ((self.points - self.points[center]) ** 2).sum(1)
            spot = rng.uniform(0.3, 1) * np.exp(-squared / rng.uniform(1e-4, 4e-4))
            spots = np.maximum(spots, spot)
        return spots

    def _to_curve(self, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frontal distance to a curve on the left side or its mirror, and where on it."""
        place = np.stack([self.side, self.points[:, 1]], 1)[:, None]
        start, step = curve[:-1], np.diff(curve, axis=0)
        share = np.clip(((place - start) * step).sum(-1) / (step**2).sum(-1), 0, 1)
        distance = np.linalg.norm(place - start - share[..., None] * step, axis=-1)
        nearest = distance.argmin(1)
        picked = np.arange(len(place)), nearest
        return distance[picked], (nearest + share[picked]) / len(step)


def smoothstep(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    share = np.clip((values - low) / (np.asarray(high) - low), 0, 1)
    return share * share * (3 - 2 * share)


def _averaging(triangles: np.ndarray, count: int) -> sp.csr_matrix:
    row = np.concatenate([triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()])
    column = np.concatenate([triangles[:, [1, 2, 0]].ravel(), triangles[:, [0, 1, 2]].ravel()])
    graph = sp.csr_matrix((np.ones(len(row)), (row, column)), (count, count))
    graph.data[:] = 1
    return sp.csr_matrix(sp.diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph)
