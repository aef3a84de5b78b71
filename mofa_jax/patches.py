"""Patches of a face's surface, within which brightness is compared by correlation."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster.vq import kmeans2

from mofa_jax.face_model import FaceModel

NUM_PATCHES = 48  # each about 2 cm wide
_SIZE = 100  # vertices of a patch that are looked at


def surface_patches(model: FaceModel, num_patches: int = NUM_PATCHES) -> jax.Array:
    """[P, 100] int32: vertices of each patch, evenly drawn from it.

    The patches are the clusters of the average face's vertices by k-means, the same for the same
    model.
    """
    points = np.asarray(model.mean_shape, np.float64)
    num_patches = min(num_patches, len(points))
    _, label = kmeans2(points, num_patches, minit="++", rng=np.random.default_rng(0))
    members = [np.flatnonzero(label == k) for k in range(num_patches)]
    drawn = [m[np.linspace(0, len(m) - 1, _SIZE).round().astype(int)] for m in members if len(m)]
    return jnp.asarray(np.stack(drawn), jnp.int32)
