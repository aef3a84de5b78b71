"""Packs the open model's arrays compactly."""

from __future__ import annotations

import numpy as np
import scipy.linalg

LICENSE = "CC0 1.0 (made from MakeHuman's CC0 assets)"


def quantize(values: np.ndarray, kind: type[np.integer]) -> tuple[np.ndarray, np.ndarray]:
    """(integers, step of each mode [K]) of [..., K]; error at most half a step."""
    steps = np.abs(values).reshape(-1, values.shape[-1]).max(0) / np.iinfo(kind).max
    steps = np.where(steps > 0, steps, 1).astype(np.float32)
    return np.round(values / steps).astype(kind), steps


def pack_reflectance(basis: np.ndarray, patterns: int) -> tuple[np.ndarray, np.ndarray]:
    """The basis [N, 3, R] as few scalar patterns and their colors.

    Returns:
      patterns: [N, K] int8; mixing: [K, 3, R] float32; `patterns @ mixing` is nearly the basis.
    """
    flat = basis.reshape(len(basis), -1)
    values, vectors = scipy.linalg.eigh(flat.T @ flat)
    chosen = vectors[:, np.argsort(-values)[:patterns]]
    packed, _ = quantize(flat @ chosen, np.int8)
    fit = scipy.linalg.lstsq(packed.astype(np.float32), flat)[0]
    return packed, fit.reshape(patterns, *basis.shape[1:]).astype(np.float32)
