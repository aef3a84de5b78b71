"""How well the open model represents people it was not made from.

    python -m benchmarks.open_model_coverage ict_facekit_full.npz [--model open_face.npz]

Random identities of ICT-FaceKit Light (N(0, 1) weights on its 100 identity modes, neutral) are
fitted with the model's shape modes: rotation and translation from landmarks (no scale: both are in
true size), then iterated closest points inside the model's span. Reported, over the frontal face
without eyes, nostrils' insides and the mouth's inside: the distance from ICT's vertices to the
model's surface and from the model's vertices to ICT's surface, in mm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from mofa_jax.face_models.open_face import ASSET, load_open_face

NARROW_FACE = 6706  # ICT-FaceKit's first vertices are the face without ears and neck
FITTED_LANDMARKS = np.arange(17, 68)
# Weights of sum(alpha^2) per fitted point, dm^2.
PRIOR, LANDMARK_PRIOR = 2e-6, 5e-4


class Surface:
    """A triangle mesh that answers closest-point queries through its vertices' triangles."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.vertices, self.triangles = vertices, triangles
        self._tree = cKDTree(vertices)
        order = np.argsort(triangles.ravel(), kind="stable")
        counts = np.bincount(triangles.ravel(), minlength=len(vertices))
        starts = np.cumsum(counts) - counts
        width = counts.max()
        slots = np.minimum(np.arange(width), np.maximum(counts[:, None] - 1, 0))
        self._incident = (order // 3)[np.minimum(starts[:, None] + slots, len(order) - 1)]

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(closest points [P, 3], their triangles [P], nearest vertices [P])."""
        nearest = self._tree.query(points)[1]
        candidates = self._incident[nearest]
        corners = self.vertices[self.triangles[candidates]]
        found = closest_on_triangles(points[:, None], *corners.transpose(2, 0, 1, 3))
        pick = ((found - points[:, None]) ** 2).sum(-1).argmin(1)
        row = np.arange(len(points))
        return found[row, pick], candidates[row, pick], nearest

    def normals(self) -> np.ndarray:
        a, b, c = self.vertices[self.triangles].transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def closest_on_triangles(p, a, b, c) -> np.ndarray:
    """The point of each triangle (a, b, c) [..., 3] nearest to p [..., 3]."""
    ab, ac, ap = b - a, c - a, p - a
    dots = [(x * y).sum(-1) for x, y in ((ab, ab), (ab, ac), (ac, ac), (ap, ab), (ap, ac))]
    aa, bb, cc, d, e = dots
    area = np.maximum(aa * cc - bb * bb, 1e-18)
    v, w = (cc * d - bb * e) / area, (aa * e - bb * d) / area
    inside = ((v >= 0) & (w >= 0) & (v + w <= 1))[..., None]
    face = a + v[..., None] * ab + w[..., None] * ac
    sides = [_closest_on_segment(p, *s) for s in ((a, b), (b, c), (c, a))]
    stacked = np.stack(sides)
    best = ((stacked - p) ** 2).sum(-1).argmin(0)
    side = np.take_along_axis(stacked, best[None, ..., None], 0)[0]
    return np.where(inside, face, side)


def _closest_on_segment(p, a, b) -> np.ndarray:
    step = b - a
    share = ((p - a) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-18)
    return a + np.clip(share, 0, 1)[..., None] * step


def rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, t) with source @ R + t nearest to target."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((source - mean_s).T @ (target - mean_t))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, mean_t - mean_s @ rotation


class Fitter:
    """Fits the model's shape to a surface whose landmarks are known."""

    def __init__(self, model: dict[str, np.ndarray], fitted: np.ndarray):
        """`fitted`: the vertices that take part."""
        self.model, self.fitted = model, fitted
        self.mean = model["mean_shape"].astype(float)
        self.basis = model["shape_basis"].astype(float)

    def fit(self, target: Surface, landmarks: np.ndarray, rounds: int = 12) -> np.ndarray:
        """The model's vertices [N, 3] on the target, whose 68 `landmarks` [68, 3] start the fit."""
        own = self.model["landmarks"][FITTED_LANDMARKS]
        rotation, shift = rigid(landmarks[FITTED_LANDMARKS], self.mean[own])
        back = np.linalg.inv(rotation)
        local = Surface(target.vertices @ rotation + shift, target.triangles)
        goal = landmarks[FITTED_LANDMARKS] @ rotation + shift
        shape = self._solve(self.mean[own], self.basis[own], goal, None, LANDMARK_PRIOR)
        total_rotation, total_shift = np.eye(3), np.zeros(3)
        picked = self.fitted
        normals = local.normals()
        for step in range(rounds):
            moved = self.mean + self.basis @ shape
            rotated = moved @ total_rotation + total_shift
            found, triangle, _ = local.closest(rotated[picked])
            gap = np.linalg.norm(found - rotated[picked], axis=1)
            keep = gap < max(0.15 * 0.7**step, 3 * np.median(gap), 0.02)
            refit = rigid(rotated[picked][keep], found[keep])
            total_rotation, total_shift = (
                total_rotation @ refit[0],
                total_shift @ refit[0] + refit[1],
            )
            aimed = (found[keep] - total_shift) @ total_rotation.T
            facing = normals[triangle[keep]] @ total_rotation.T
            chosen = picked[keep]
            shape = self._solve(self.mean[chosen], self.basis[chosen], aimed, facing, PRIOR)
        fitted = (self.mean + self.basis @ shape) @ total_rotation + total_shift
        return (fitted - shift) @ back

    @staticmethod
    def _solve(mean, basis, goal, normals, prior: float) -> np.ndarray:
        """Coefficients of a regularized fit; along normals (and weakly across) if given."""
        modes = basis.shape[-1]
        if normals is None:
            rows, right = basis.reshape(-1, modes), (goal - mean).ravel()
        else:
            along = np.einsum("pc,pck->pk", normals, basis)
            rows = np.concatenate([along, 0.2 * basis.reshape(-1, modes)])
            right = np.concatenate([((goal - mean) * normals).sum(1), 0.2 * (goal - mean).ravel()])
        normal = rows.T @ rows + prior * len(goal) * np.eye(modes)
        return np.linalg.solve(normal, rows.T @ right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ict", type=Path, help="ict_facekit_full.npz")
    parser.add_argument("--model", type=Path, default=ASSET)
    parser.add_argument("--identities", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    to_model, to_target, worst = measure(arguments)
    print(f"identities: {arguments.identities}")
    for name, values in (
        ("ICT's vertices to the model", to_model),
        ("model's vertices to ICT", to_target),
    ):
        print(
            f"{name}: median {np.median(values):.3f} mm, mean {values.mean():.3f} mm, "
            f"90th percentile {np.quantile(values, 0.9):.3f} mm"
        )
    print(f"medians by identity: {worst.min():.3f} to {worst.max():.3f} mm")


def measure(arguments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, mm: ICT's points to the model, the model's to ICT, medians by identity."""
    model = load_open_face(arguments.model)
    with np.load(arguments.ict) as file:
        mean, basis = file["mean"] / 10, file["id_basis"].astype(np.float32) / 10  # cm to dm
        triangles, landmarks = file["triangles"], file["landmarks68"]
    triangles = triangles[(triangles < NARROW_FACE).all(1)]
    rng = np.random.default_rng(arguments.seed)
    fitter = Fitter(model, skin_vertices(model)[::5])
    border = _border_vertices(model["triangles"])
    forward, backward, medians = [], [], []
    for _ in range(arguments.identities):
        person = mean + np.tensordot(rng.normal(size=len(basis)), basis, axes=1)
        target = Surface(person[:NARROW_FACE].astype(float), triangles)
        fitted = fitter.fit(target, person[landmarks].astype(float))
        surface = Surface(fitted, model["triangles"])
        found, _, nearest = surface.closest(target.vertices)
        gap = np.linalg.norm(found - target.vertices, axis=1) * 100
        measured = ~np.isin(nearest, border) & _outside(target, fitted[model["landmarks"]])
        forward.append(gap[measured])
        skin = fitter.fitted
        found, _, nearest = target.closest(fitted[skin])
        gap = np.linalg.norm(found - fitted[skin], axis=1) * 100
        backward.append(gap[~np.isin(nearest, _border_vertices(triangles))])
        medians.append(np.median(forward[-1]))
    return np.concatenate(forward), np.concatenate(backward), np.array(medians)


def _outside(target: Surface, landmarks: np.ndarray) -> np.ndarray:
    """ICT's vertices on the outer skin, not inside sockets, nostrils and mouth."""
    points, faces = target.vertices, target.normals()
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, target.triangles[:, corner], faces)
    facing = normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-12) > -0.3
    center, radius = landmarks[[36, 39, 42, 45]].reshape(2, 2, 3).mean(1), 0.13
    eyes = (np.linalg.norm(points[:, None] - center, axis=-1) < radius).any(1)
    deep = eyes & (points[:, 2] < landmarks[36:48, 2].mean() - 0.03)
    return facing & ~deep


def skin_vertices(model: dict[str, np.ndarray]) -> np.ndarray:
    """The model's vertices outside the patches and off the boundary."""
    uncovered = np.ones(len(model["mean_shape"]), bool)
    uncovered[_border_vertices(model["triangles"])] = False
    points, marks = model["mean_shape"], model["mean_shape"][model["landmarks"]]
    for first in (36, 42):
        uncovered &= ~inside_polygon(points[:, :2], marks[first : first + 6, :2])
    uncovered &= ~inside_polygon(points[:, :2], marks[60:68, :2])
    return np.flatnonzero(uncovered)


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Even-odd rule."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        at = x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0 if y1 != y0 else 1e-12)
        inside ^= crosses & (points[:, 0] < at)
    return inside


def _border_vertices(triangles: np.ndarray) -> np.ndarray:
    sides = np.sort(
        np.stack([triangles, np.roll(triangles, -1, axis=1)], -1).reshape(-1, 2), axis=1
    )
    edges, count = np.unique(sides, axis=0, return_counts=True)
    return np.unique(edges[count == 1])


if __name__ == "__main__":
    main()
