"""The iBUG/Multi-PIE 68 facial landmarks, counted from 0; left and right are the subject's."""

import numpy as np

NUM_LANDMARKS = 68

# The 46 landmarks of the loss and of the reported error: brows, nose, eyes, outer lips, the two
# inner-lip centers and the chin tip. The rest of the jaw slides along the silhouette: left out.
LOSS_LANDMARKS = np.array([8, *range(17, 60), 62, 66], np.int32)

# Upper and lower landmarks, which meet where an eye or the mouth is closed.
FACING_LIDS = np.array([(37, 41), (38, 40), (43, 47), (44, 46)], np.int32)
FACING_LIPS = np.array([(61, 67), (62, 66), (63, 65)], np.int32)
FACING_LANDMARKS = np.concatenate([FACING_LIDS, FACING_LIPS])

OUTER_EYE_CORNERS = (36, 45)  # their distance is what errors are normalized by

_MIRRORED_PAIRS = (
    *((i, 16 - i) for i in range(8)),  # jaw
    *((i, 43 - i) for i in range(17, 22)),  # brows
    *((31, 35), (32, 34)),  # nostrils
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lips
    *((60, 64), (61, 63), (65, 67)),  # inner lips
)


def _flip_permutation() -> np.ndarray:
    permutation = np.arange(NUM_LANDMARKS, dtype=np.int32)
    for left, right in _MIRRORED_PAIRS:
        permutation[[left, right]] = right, left
    return permutation


# Landmark i of a mirrored photograph is landmark FLIP_PERMUTATION[i] of the photograph.
FLIP_PERMUTATION = _flip_permutation()
