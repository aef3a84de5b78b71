r"""Where a config's loss leads each photograph by itself: its optimum from an encoder's codes.

    python -m benchmarks.loss_optimum --config=configs/compact_unsupervised.py --workdir=RUN \
        --corpus=corpora/lfw --config.loss.area_photometric=30

The codes themselves are free, no network stands between: what a training with this loss can teach
at best. A loss whose optimum has worse landmarks than its start cannot align faces. With
--free=reflectance,illumination the rest of the codes is held: how near colors come with such
geometry. Faces are of the training split, so that a loss is not chosen by the held-out ones; their
landmarks only measure.
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
from mofa_jax.autoencoder import Decoder, objective, project_landmarks
from mofa_jax.data.corpora.record import open_corpus
from mofa_jax.data.feeds.device_batch import KEYS
from mofa_jax.data.feeds.mixture import spread
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.losses import CODE_SPREAD
from mofa_jax.params import FaceParams
from mofa_jax.patches import surface_patches

_CONFIG = config_flags.DEFINE_config_file("config", "configs/compact_unsupervised.py", "Its loss.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the encoder; the bundled one if not given.")
_CORPUS = flags.DEFINE_string("corpus", None, "A prepared corpus with landmarks.", required=True)
_FACES = flags.DEFINE_integer(
    "faces", 32, "How many faces, spread over the training split: a multiple of 16.", lower_bound=16
)
_STEPS = flags.DEFINE_integer("steps", 80, "Of Adam, for each.")
_FREE = flags.DEFINE_list("free", list(CODE_SPREAD), "The parts of the codes that are free.")
_RATE = flags.DEFINE_float("rate", 0.03, "Of Adam, in units of how far faces' codes spread.")

_BATCH = 16
_GROUPS = {"brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}


@partial(jax.jit, static_argnames=("loss", "free", "num_steps", "rate"))
def _fit(codes, batch, decoder, loss, free: tuple[str, ...], num_steps: int, rate: float):
    """The codes [B, D] after so many steps down the config's loss; the loss and the photometric
    error before and after [2, 2]."""
    spreads = _spreads(decoder.model, free)

    def evaluate(change: jax.Array):
        code = codes + change * spreads
        return objective(code, batch, decoder, lambda code, _: code, loss)

    def values(change: jax.Array) -> jax.Array:
        value, (_, errors) = evaluate(change)
        return jnp.stack([value, errors["photometric_error"]])

    start = jnp.zeros_like(codes)
    end = descend(lambda change: evaluate(change)[0], start, num_steps, rate)
    return codes + end * spreads, jnp.stack([values(start), values(end)])


def _spreads(model, free: tuple[str, ...]) -> jax.Array:
    """[1, D]: how far each entry of a code spreads over faces; zero of what is not free."""
    zero = FaceParams.neutral(model)
    fields = {
        name: jnp.full_like(getattr(zero, name), value if name in free else 0.0)
        for name, value in CODE_SPREAD.items()
    }
    return FaceParams(**fields).to_code()[None]


def _print(name: str, codes: np.ndarray, landmarks: np.ndarray, model, cam) -> None:
    params = FaceParams.from_code(jnp.asarray(codes), model)
    drawn = np.asarray(project_landmarks(params, model.at_landmarks(), cam))
    distance = np.linalg.norm(drawn - landmarks, axis=-1)

    def mean(first: int, end: int) -> float:
        counted = [k for k in LOSS_LANDMARKS if first <= k < end]
        return np.nanmean(distance[:, counted])

    parts = ", ".join(f"{group} {mean(*limits):.2f}" for group, limits in _GROUPS.items())
    print(f"{name}: landmark error {mean(0, 68):.3f} px ({parts})", flush=True)


def main(_) -> None:
    if unknown := set(_FREE.value) - CODE_SPREAD.keys():
        raise app.UsageError(f"--free={','.join(unknown)}: a code has {', '.join(CODE_SPREAD)}.")
    predict = mofa_jax.load_for_inference(_WORKDIR.value)
    model, cam, loss = predict.model, predict.cam, _CONFIG.value.loss
    loss.landmark = loss.closure = loss.code = 0.0
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
    how = {"free": tuple(_FREE.value), "num_steps": _STEPS.value, "rate": _RATE.value}
    fit = partial(_fit, loss=FrozenConfigDict(loss), **how)
    for k in tqdm(range(0, len(examples), _BATCH), unit="batch"):
        batch = {key: jnp.asarray(values[k : k + _BATCH]) for key, values in stacked.items()}
        fitted, values = fit(jnp.asarray(codes[k : k + _BATCH]), batch, decoder)
        found.append(np.asarray(fitted))
        ends.append(np.asarray(values))
    _print("the loss's optimum", np.concatenate(found), landmarks, model, cam)
    (loss_before, color_before), (loss_after, color_after) = np.mean(ends, axis=0)
    print(f"loss {loss_before:.4f} -> {loss_after:.4f}")
    print(f"photometric error {color_before:.4f} -> {color_after:.4f}")
    print(f"{len(examples)} faces, {_STEPS.value} steps")


if __name__ == "__main__":
    app.run(main)
