"""A file of the 68 landmarks' vertices, for models that name none or others."""

from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.safe_pickle import load_object_npy
from mofa_jax.face_models.source_files import format_of, read_numbers
from mofa_jax.landmarks import NUM_LANDMARKS


def read_landmark_vertices(path: Path) -> np.ndarray:
    """[68] vertex numbers from zero, -1 where there is none.

    Read are .npy, .anl (the Basel Face Model's annotation lists, which count from one), and text:
    68 numbers, separated by spaces or lines.

    Raises:
      FaceModelError: the file holds something else.
    """
    from_one = path.suffix.lower() == ".anl"
    values = load_object_npy(path) if format_of(path) == "npy file" else read_numbers(path)
    values = np.asarray(values)
    whole = values.dtype.kind in "iuf" and (values == np.round(values)).all()
    if values.size != NUM_LANDMARKS or not whole:
        raise FaceModelError(
            f"{path}: {values.size} values, expected the {NUM_LANDMARKS} whole numbers of the "
            "landmarks' vertices; check the file."
        )
    return values.ravel().astype(np.int64) - from_one
