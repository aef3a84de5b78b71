"""Where a config's loss leads each photograph by itself: its optimum from an encoder's codes.

    python -m benchmarks.loss_optimum --config=configs/compact_unsupervised.py --workdir=RUN
        --corpus=corpora/lfw --config.loss.area_photometric=30

The codes themselves are free, no network stands between: what a training with this loss can teach
at best. A loss whose optimum has worse landmarks than its start cannot align faces. Faces are of
the training split, so that a loss is not chosen by the held-out ones; their landmarks only measure.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import FrozenConfigDict, config_flags
from tqdm import tqdm

import mofa_jax
from benchmarks.descent import descend
from mofa_jax.autoencoder import Decoder, landmark_model, objective, project_landmarks
from mofa_jax.data.corpora.record import open_corpus
from mofa_jax.data.feeds.device_batch import KEYS
from mofa_jax.data.feeds.mixture import spread
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.losses import CODE_SPREAD
from mofa_jax.params import FaceParams
from mofa_jax.patches import surface_patches

_CONFIG = config_flags.DEFINE_config_file("config", "configs/compact_unsupervised.py", "Its loss.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the encoder; the one in the box if not given.")
_CORPUS = flags.DEFINE_string("corpus", None, "A prepared corpus with landmarks.", required=True)
_FACES = flags.DEFINE_integer("faces", 32, "How many faces, spread over the training split.")
_STEPS = flags.DEFINE_integer("steps", 80, "Of Adam, for each.")
_RATE = flags.DEFINE_float("rate", 0.03, "Of Adam, in units of how far faces' codes spread.")

_BATCH = 16
_GROUPS = {"brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}


@partial(jax.jit, static_argnames=("loss", "num_steps", "rate"))
def _fit(codes, batch, decoder, loss, num_steps: int, rate: float):
    """The codes [B, D] after so many steps down the config's loss; the loss before and after."""
    last, spreads = jnp.asarray(loss.regularizer_steps), _spreads(decoder.model)

    def energy(scaled: jax.Array) -> jax.Array:
        return objective(scaled * spreads, batch, last, decoder, lambda code, _: code, loss)[0]

    start = codes / spreads
    end = descend(energy, start, num_steps, rate)
    return end * spreads, jnp.stack([energy(start), energy(end)])


def _spreads(model) -> jax.Array:
    """[1, D]: how far each entry of a code spreads over faces."""
    zero = FaceParams.neutral(model)
    fields = {
        name: jnp.full_like(getattr(zero, name), value) for name, value in CODE_SPREAD.items()
    }
    return FaceParams(**fields).to_code()[None]


def _print(name: str, codes: np.ndarray, landmarks: np.ndarray, model, cam) -> None:
    params = FaceParams.from_code(jnp.asarray(codes), model)
    drawn = np.asarray(project_landmarks(params, landmark_model(model), cam))
    distance = np.linalg.norm(drawn - landmarks, axis=-1)

    def mean(first: int, end: int) -> float:
        counted = [k for k in LOSS_LANDMARKS if first <= k < end]
        return np.nanmean(distance[:, counted])

    parts = ", ".join(f"{group} {mean(*limits):.2f}" for group, limits in _GROUPS.items())
    print(f"{name}: landmark error {mean(0, 68):.3f} px ({parts})", flush=True)


def main(_) -> None:
    predict = mofa_jax.load_for_inference(_WORKDIR.value)
    model, cam, loss = predict.model, predict.cam, _CONFIG.value.loss
    loss.landmark = loss.code = 0.0
    patches = surface_patches(model) if loss.patch_correlation else None
    decoder = Decoder(model, cam, patches)
    faces = spread(open_corpus(_CORPUS.value, "train"), _FACES.value)
    examples = [faces[i] for i in range(len(faces) // _BATCH * _BATCH)]
    stacked = {key: np.stack([face[key] for face in examples]) for key in KEYS}
    codes = np.asarray(jax.vmap(FaceParams.to_code)(predict(stacked["image"])))
    known = stacked["confidence"][..., None] > 0
    landmarks = np.where(known, stacked["landmarks"], np.nan)
    _print("the encoder's codes", codes, landmarks, model, cam)
    found, ends = [], []
    fit = partial(_fit, loss=FrozenConfigDict(loss), num_steps=_STEPS.value, rate=_RATE.value)
    for k in tqdm(range(0, len(examples), _BATCH), unit="batch"):
        batch = {key: jnp.asarray(values[k : k + _BATCH]) for key, values in stacked.items()}
        fitted, values = fit(jnp.asarray(codes[k : k + _BATCH]), batch, decoder)
        found.append(np.asarray(fitted))
        ends.append(np.asarray(values))
    _print("the loss's optimum", np.concatenate(found), landmarks, model, cam)
    first, end = np.mean(ends, axis=0)
    print(f"loss {first:.4f} -> {end:.4f}; {len(examples)} faces, {_STEPS.value} steps")


if __name__ == "__main__":
    app.run(main)
