"""A code made better for its own photograph: some steps down the energy, from the encoder's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mofa_jax import losses
from mofa_jax.autoencoder import Decoder
from mofa_jax.params import FaceParams, code_slices

_RATE = 0.05  # Adam's, in units of _SCALES
_SCALES = {  # how far each part of the code goes at once
    "shape": 1.0,  # standard deviations
    "expression": 1.0,
    "reflectance": 1.0,
    "rotation": 0.05,  # radians
    "translation": 0.05,  # dm
    "illumination": 0.2,
}
_ANCHOR = 4.0  # weight of the distance to the encoder's own landmarks, as w_land of Eq. 7
_REGULARIZER, _REFLECTANCE, _LIGHT = 1e-4, 0.15, 1.0  # w_reg and, within it, w_beta and the light's


@partial(jax.jit, static_argnames="num_steps")
def refine(codes: jax.Array, images: jax.Array, decoder: Decoder, num_steps: int) -> jax.Array:
    """Adam's steps on the photometric energy of each face (Eq. 8), from the encoder's code.

    The landmarks that the encoder has found hold the face in place, the face model's prior and that
    of the light hold the code where faces are.

    Args:
      codes: [B, D].
      images: the crops [B, H, W, 3], uint8.
      decoder: of the codes' face model and the crops' camera.
      num_steps: about 50; 10 ms a face and step on two CPU cores.

    Returns:
      [B, D].
    """
    images = images.astype(jnp.float32) / 255.0
    scales = np.empty(codes.shape[1], np.float32)
    for name, part in code_slices(decoder.model).items():
        scales[part] = _SCALES[name]
    size = jnp.array(decoder.cam.image_size[::-1], jnp.float32)
    vertices, known = decoder.model.landmarks, (decoder.model.landmarks >= 0)[None, :, None]
    found = decoder.render(FaceParams.from_code(codes, decoder.model)).screen[:, vertices]

    def energy(change: jax.Array) -> jax.Array:
        params = FaceParams.from_code(codes + scales[None, :] * change, decoder.model)
        rendering = decoder.render(params)
        photometric = jax.vmap(losses.photometric)(rendering, images)
        offset = jnp.where(known, rendering.screen[:, vertices] - found, 0.0)
        moved = jnp.sum((offset / size[None, None]) ** 2, (1, 2))
        prior = jax.vmap(losses.regularizer, (0, None))(params, _REFLECTANCE)
        prior += _LIGHT * jax.vmap(losses.light_prior)(params)
        return jnp.sum(
            losses.PHOTOMETRIC_WEIGHT * photometric + _ANCHOR * moved + _REGULARIZER * prior
        )

    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, num_steps))

    def step(_, carry):
        change, state = carry
        update, state = optimizer.update(jax.grad(energy)(change), state)
        return change + update, state

    zero = jnp.zeros_like(codes)
    change, _ = jax.lax.fori_loop(0, num_steps, step, (zero, optimizer.init(zero)))
    return codes + scales[None, :] * change
