"""Principal modes of drawn faces, orthogonal on the fine mesh."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import eigsh


def modes_of_mixtures(
    weights: np.ndarray, directions: np.ndarray, refinement: sp.csr_matrix, count: int
) -> np.ndarray:
    """Modes [n, 3, count] of the draws `weights @ directions`, scaled by their standard deviations.

    With E the modes refined by `refinement`, E^T E = diag(sigma^2), falling. All is done with the
    D x D matrix of the directions' dot products on the fine mesh; no draw is ever written out.

    Args:
      weights: [P, D] of P draws; subtract their average, or do not to have modes about zero.
      directions: [D, n, 3] coarse displacements.
      refinement: [N, n] sparse, from coarse to fine vertices.
      count: modes kept.
    """
    root = _symmetric_root(_dot_products(directions, refinement))
    scores = weights @ root  # [P, D]; dot products of its rows are those of the refined draws
    values, vectors = scipy.linalg.eigh(scores.T @ scores / len(scores))
    order = np.argsort(-values)[:count]
    coordinates = scores @ vectors[:, order] / (np.sqrt(values[order]) * len(scores))
    mixing = weights.T @ coordinates  # [D, count]
    return _fix_signs(np.einsum("dnc,dk->nck", directions, mixing, optimize=True))


def modes_of_samples(samples: np.ndarray, count: int) -> np.ndarray:
    """Modes [N, C, count] of deviations [P, N, C], scaled by their standard deviations."""
    draws = len(samples)
    flat = samples.reshape(draws, -1)
    gram = (flat @ flat.T).astype(np.float64) / draws
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(draws - count, draws - 1))
    vectors = vectors[:, np.argsort(-values)] / np.sqrt(draws)
    modes = flat.T @ vectors.astype(flat.dtype)
    return _fix_signs(modes.reshape(*samples.shape[1:], count))


def without_rigid_motion(
    directions: np.ndarray, positions: np.ndarray, refinement: sp.csr_matrix
) -> np.ndarray:
    """Directions [D, n, 3] less their small translation and rotation of `positions` [n, 3]."""
    fine = refinement @ positions
    centered = positions - fine.mean(0)
    axes = np.eye(3)
    rigid = [np.broadcast_to(axis, positions.shape) for axis in axes]
    rigid = np.stack([*rigid, *(np.cross(axis, centered) for axis in axes)])
    inside = _dot_products(rigid, refinement)
    across = _dot_products(directions, refinement, rigid)
    share = np.linalg.solve(inside, across.T)  # [6, D]
    return directions - np.einsum("rnc,rd->dnc", rigid, share)


def smooth_modes(
    positions: np.ndarray, mirror_x: np.ndarray, length: float, count: int, odd: bool = False
) -> np.ndarray:
    """Modes [count, n] of a Gaussian random field, each at one standard deviation.

    Squared-exponential covariance of the given length (dm), even or odd under the mirror at x = 0.
    The idea is Luethi et al., "Gaussian Process Morphable Models", PAMI 2018.

    Args:
      positions: [n, 3].
      mirror_x: [n, 3] their mirror images.
    """

    def kernel(other: np.ndarray) -> np.ndarray:
        squared = ((positions[:, None] - other[None]) ** 2).sum(-1)
        return np.exp(-squared / (2 * length**2))

    covariance = (kernel(positions) + (-1 if odd else 1) * kernel(mirror_x)) / 2
    start = np.linspace(0.5, 1.5, len(positions))  # a fixed start makes a build repeatable
    values, vectors = eigsh(covariance, count, v0=start)
    order = np.argsort(-values)
    return _fix_signs(vectors[:, order] * np.sqrt(np.maximum(values[order], 0))).T


def _dot_products(
    a: np.ndarray, refinement: sp.csr_matrix, b: np.ndarray | None = None
) -> np.ndarray:
    """[A, B] dot products on the fine mesh of coarse fields [A, n, 3] and [B, n, 3]."""
    metric = refinement.T @ refinement
    other = a if b is None else b
    return sum(a[..., axis] @ (metric @ other[..., axis].T) for axis in range(3))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _fix_signs(modes: np.ndarray) -> np.ndarray:
    """Makes each mode's largest entry positive, so that a build is repeatable."""
    flat = modes.reshape(-1, modes.shape[-1])
    return modes * np.sign(flat[np.abs(flat).argmax(axis=0), np.arange(flat.shape[1])])
