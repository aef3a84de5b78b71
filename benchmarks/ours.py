"""What is measured of ours, by several benchmarks: the decoder with its loss, and a train step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import mofa_jax
from mofa_jax.camera import make_camera
from mofa_jax.learner import make_learner
from mofa_jax.optimizer import make_optimizer
from mofa_jax.train import TrainState, make_train_steps, replicate


def decoder_and_loss(cam: mofa_jax.Camera) -> Callable:
    """Decoder and photometric loss, value and gradient, as a notebook calls them: a function of
    codes [B, D], the face model and images [B, H, W, 3]."""

    @jax.jit
    def value_and_grad(codes, model, images):
        def loss(code, image):
            params = mofa_jax.FaceParams.from_code(code, model)
            return mofa_jax.losses.photometric(mofa_jax.render(params, model, cam), image)

        return jax.vmap(jax.value_and_grad(loss))(codes, images)

    return value_and_grad


def training(config: ConfigDict) -> tuple:
    """(steps, state, decoder, batches of random pixels) of a config, as `main.py` has them; a row
    of `config.steps_at_once` steps."""
    model, cam = mofa_jax.load_face_model("open"), make_camera(config.camera)
    learner = make_learner(config, model, cam)
    weights = learner.random_weights()
    optimizer = make_optimizer(config.optimizer, config.num_steps, model)
    state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    steps = make_train_steps(learner.objective, optimizer)
    shape = (1, config.steps_at_once, config.batch_size)
    batches = {
        "image": jax.random.bits(jax.random.key(1), (*shape, 240, 240, 3), jnp.uint8),
        "landmarks": jnp.full((*shape, 68, 2), 120.0),
        "confidence": jnp.ones((*shape, 68)),
    }
    return steps, replicate(state), replicate(learner.decoder), batches
