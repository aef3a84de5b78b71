"""Where each loss is least: faces that lie right, drawn larger and smaller.

    python -m benchmarks.loss_profile --corpus=corpora/lfw --output=profile

Held-out faces with landmarks are fitted to them from the code of the bundled encoder; then all
is scaled on the screen by s about the face's middle, light and reflectance are refitted to the
photograph (Eq. 8 and the priors), and each loss is taken. A loss without bias is least at s = 1.
Prints the table, and writes profile.json and, with matplotlib, profile.png.
"""

import importlib.util
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

import mofa_jax
from benchmarks.descent import descend
from mofa_jax import losses
from mofa_jax.autoencoder import project_landmarks
from mofa_jax.data.corpora.record import open_corpus
from mofa_jax.data.feeds.mixture import spread
from mofa_jax.files.writing import write_json
from mofa_jax.params import FaceParams
from mofa_jax.patches import surface_patches
from mofa_jax.renderer import Rendering, limit_geometry_gradient

_CORPUS = flags.DEFINE_string("corpus", None, "A prepared corpus with landmarks.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the results.", required=True)
_FACES = flags.DEFINE_integer("faces", 32, "How many faces, spread over the held-out ones.")

SCALES = np.round(np.arange(0.88, 1.1201, 0.02), 2)
_FIT_STEPS, _REFIT_STEPS = 200, 60
_PRIOR = 1e-4  # w_reg in both fits
_REFLECTANCE, _LIGHT = 0.15, 60.0  # within it: w_beta, and the light's
_THRESHOLDS = (0.08, 0.1, 0.12, 0.15)


def _fit_landmarks(params: FaceParams, points, confidence, landmarks, cam) -> FaceParams:
    """Shape, expression and pose that bring the 46 landmarks onto the annotated ones."""

    def energy(params: FaceParams) -> jax.Array:
        screen = project_landmarks(jax.tree.map(lambda x: x[None], params), landmarks, cam)[0]
        offset, weight = losses.landmark_offsets(screen, landmarks, points, confidence)
        land = losses.weighted_landmark_distance(offset, weight, cam)
        return land + _PRIOR * losses.regularizer(params)

    return descend(energy, params, _FIT_STEPS, 0.02)


def _scaled(rendering: Rendering, model, scale: jax.Array) -> Rendering:
    """The rendering drawn `scale` times as large about the middle of its landmarks."""
    middle = jnp.mean(rendering.screen[model.landmarks], axis=0, keepdims=True)
    screen = middle + scale * (rendering.screen - middle)
    return rendering.replace(screen=screen, area=scale**2 * rendering.area)


def _profile_at(params, image, scale, model, cam, patches):
    """The refitted code at a scale, and each loss there."""
    geometry = mofa_jax.render(params, model, cam)

    def look(colors) -> tuple[FaceParams, Rendering]:
        face = params.replace(**colors)
        return face, _scaled(limit_geometry_gradient(geometry, face, model, 0.0), model, scale)

    def energy(colors) -> jax.Array:
        face, rendering = look(colors)
        prior = losses.regularizer(face, _REFLECTANCE) + _LIGHT * losses.light_prior(face)
        photometric = losses.photometric(rendering, image)
        return losses.PHOTOMETRIC_WEIGHT * photometric + _PRIOR * prior

    start = {"reflectance": params.reflectance, "illumination": params.illumination}
    face, rendering = look(descend(energy, start, _REFIT_STEPS, 0.05))
    eq8 = losses.photometric(rendering, image)
    values = {
        "Eq. 8": eq8,
        "Eq. 8 over the area": eq8 / jnp.mean(rendering.front_facing),
        "patch correlation": losses.patch_correlation(rendering, image, patches),
    }
    for tau in _THRESHOLDS:
        name = f"area, tau = {tau:g}"
        values[name] = losses.area_photometric(rendering, image, tau)
    return face, values


def _least(values: np.ndarray) -> float:
    """The scale at which a profile is least, between the samples too."""
    k = int(np.clip(np.argmin(values), 1, len(values) - 2))
    a, b, c = values[k - 1 : k + 2]
    return float(SCALES[k] + 0.5 * (SCALES[1] - SCALES[0]) * (a - c) / max(a - 2 * b + c, 1e-12))


def _draw(path: Path, profiles: dict[str, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, values in profiles.items():
        depth = (values - values.min()) / (values.max() - values.min())
        axes.plot(SCALES, depth, label=f"{name}: {_least(values):.3f}")
    axes.axvline(1, color="0.8", zorder=0)
    axes.set(xlabel="scale on the screen", ylabel="loss, from least to most", ylim=(-0.02, 1.02))
    axes.legend(title="least at", fontsize=8)
    figure.savefig(path, dpi=120)


def main(_):
    predict = mofa_jax.load_for_inference()
    model, cam, landmarks = predict.model, predict.cam, predict.model.at_landmarks()
    examples = spread(open_corpus(_CORPUS.value, "eval"), _FACES.value)
    fit = jax.jit(partial(_fit_landmarks, landmarks=landmarks, cam=cam))
    at = jax.jit(partial(_profile_at, model=model, cam=cam, patches=surface_patches(model)))
    collected: dict[str, list] = {}
    for i in tqdm(range(len(examples)), unit="face"):
        example = examples[i]
        image = jnp.asarray(example["image"], jnp.float32) / 255
        params = jax.tree.map(lambda x: x[0], predict(example["image"][None]))
        params = fit(params, example["landmarks"], example["confidence"])
        of_face: dict[str, list] = {}
        for scale in SCALES:
            params, values = at(params, image, float(scale))
            for name, value in values.items():
                of_face.setdefault(name, []).append(float(value))
        for name, values in of_face.items():
            collected.setdefault(name, []).append(values)
    profiles = {name: np.mean(values, axis=0) for name, values in collected.items()}
    for name, values in profiles.items():
        print(f"{name:22s} least at {_least(values):.3f}")
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    numbers = {name: values.tolist() for name, values in profiles.items()}
    least = {name: _least(values) for name, values in profiles.items()}
    results = {"scales": SCALES.tolist(), "least_at": least, "profiles": numbers}
    write_json(output / "profile.json", {"num_faces": len(examples), **results})
    if importlib.util.find_spec("matplotlib"):
        _draw(output / "profile.png", profiles)
    print(json.dumps(least))


if __name__ == "__main__":
    app.run(main)
