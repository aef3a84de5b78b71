"""What is measured of ours, by several benchmarks: the decoder with its loss, and a train step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import mofa_jax
from mofa_jax.camera import make_camera
from mofa_jax.optimizer import make_optimizer
from mofa_jax.params import code_size
from mofa_jax.training.learner import make_learner
from mofa_jax.training.steps import TrainState, make_train_steps, replicate


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


def decoder_call(
    model: mofa_jax.FaceModel, batch: int, side: int = 240
) -> tuple[Callable, tuple[jax.Array, mofa_jax.FaceModel, jax.Array]]:
    """`decoder_and_loss` of photographs of `side` px, and its arguments."""
    call = decoder_and_loss(mofa_jax.Camera().scaled(side / 240))
    codes, images = codes_and_images(model, batch, side)
    return call, (codes, model, images)


def codes_and_images(
    model: mofa_jax.FaceModel, batch: int, side: int = 240
) -> tuple[jax.Array, jax.Array]:
    """Random codes [B, D] and smooth random pictures [B, side, side, 3]."""
    codes = 0.2 * jax.random.normal(jax.random.key(0), (batch, code_size(model)))
    coarse = jax.random.uniform(jax.random.key(1), (batch, 12, 12, 3))
    return codes, jax.image.resize(coarse, (batch, side, side, 3), "linear")


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
