"""One process of a two-process run: `python one_of_two_processes.py CONFIG_JSON OUTPUT`.

The environment says which one it is. Trains as the config says, and writes the gradient of the
first train step to OUTPUT.
"""

import json
import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from mofa_jax.camera import make_camera
from mofa_jax.data.feeds.pipeline import open_data
from mofa_jax.face_models.load import load_face_model
from mofa_jax.processes import initialize_processes
from mofa_jax.train import train_and_evaluate
from mofa_jax.training.learner import make_learner
from mofa_jax.training.steps import TrainState, make_train_steps, replicate


def first_gradient(config, workdir):
    """The averaged gradient of the config's first batch, as a list of arrays."""
    model, cam = load_face_model(config.face_model), make_camera(config.camera)
    learner = make_learner(config, model, cam)
    weights = learner.initial_weights()
    optimizer = optax.GradientTransformation(lambda w: w, lambda g, state, w: (g, g))
    step = make_train_steps(learner.objective, optimizer)
    state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    with closing(open_data(config, model, cam, Path(workdir)).train) as feed:
        batch = feed.take(1)
    decoder = replicate(learner.decoder)
    new, _ = step(replicate(state), decoder, batch.arrays)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(new.opt_state)]


if __name__ == "__main__":
    initialize_processes()
    config = ConfigDict(json.loads(Path(sys.argv[1]).read_text()))
    gradient = first_gradient(config, Path(sys.argv[2]).parent)
    train_and_evaluate(config, Path(sys.argv[2]).parent / "run")
    if jax.process_index() == 0:
        np.savez(sys.argv[2], *gradient)
