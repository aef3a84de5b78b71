"""The 68 iBUG landmarks on the average face, in MakeHuman's coordinates (dm, +x subject's left)."""

from __future__ import annotations

import numpy as np

from mofa_jax.landmarks import FLIP_PERMUTATION
from tools.open_model.region import Region

# Places on the midline and on the subject's left; the right side mirrors them.
# Two numbers are (x, y) of a point on the front of the face; three are a point in space.
_SEEDS = {
    8: (0.0, 6.285, 1.36),
    9: (0.14, 6.305, 1.31),
    10: (0.28, 6.345, 1.18),
    11: (0.41, 6.435, 1.04),
    12: (0.53, 6.60, 0.92),
    13: (0.61, 6.80, 0.82),
    14: (0.65, 7.00, 0.77),
    15: (0.67, 7.19, 0.74),
    16: (0.68, 7.37, 0.73),
    22: (0.105, 7.490),
    23: (0.210, 7.535),
    24: (0.335, 7.553),
    25: (0.440, 7.533),
    26: (0.525, 7.470),
    27: (0.0, 7.360),
    28: (0.0, 7.245),
    29: (0.0, 7.130),
    30: (0.0, 7.005),
    33: (0.0, 6.893),
    34: (0.066, 6.903),
    35: (0.132, 6.918),
    42: (0.163, 7.318),
    51: (0.0, 6.760),
    52: (0.056, 6.772),
    53: (0.140, 6.745),
    54: (0.236, 6.670),
    55: (0.155, 6.605),
    56: (0.080, 6.575),
    57: (0.0, 6.563),
    62: (0.0, 6.697),
    63: (0.090, 6.697),
    64: (0.218, 6.678),
    65: (0.090, 6.680),
    66: (0.0, 6.677),
}
_UPPER_LID = {43: 0.245, 44: 0.338}  # landmark: x on the left eye's lid
_LOWER_LID = {47: 0.248, 46: 0.338}


def find_landmarks(region: Region, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """[68] fine vertices; `coarse` [n, 3], `fine` [N, 3] are the average face's positions."""
    seeds = {k: np.array(place) for k, place in _SEEDS.items()}
    eye = region.eyes[0]
    for lid, row in ((_UPPER_LID, eye.rows[0]), (_LOWER_LID, eye.rows[-1])):
        for landmark, x in lid.items():
            seeds[landmark] = coarse[row[np.abs(coarse[row, 0] - x).argmin()]]
    corners = coarse[list(eye.corners)]
    seeds[45] = corners[corners[:, 0].argmax()]
    for landmark in list(seeds):
        seeds[int(FLIP_PERMUTATION[landmark])] = seeds[landmark] * [
            -1 if FLIP_PERMUTATION[landmark] != landmark else 1,
            *[1] * (len(seeds[landmark]) - 1),
        ]
    return np.array([_nearest(fine, seeds[k]) for k in range(68)], np.int32)


def _nearest(fine: np.ndarray, seed: np.ndarray) -> int:
    distance = np.linalg.norm(fine[:, : len(seed)] - seed, axis=1)
    if len(seed) == 2:
        distance = distance + np.where(fine[:, 2] > 1.05, 0, 10) - 0.05 * fine[:, 2]
    return int(distance.argmin())
