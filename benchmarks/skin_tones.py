"""How well skin is told from light: the ten Monk tones, rendered and estimated.

    python -m benchmarks.skin_tones [--workdir=RUN] [--faces=32] [--refine=5]

Each tone's face (random shape, expression, pose and features, its cheeks and forehead of the tone)
is lit at random like the world (the statistics of `losses.light_prior`), before a procedural
background, and goes through the encoder and steps of the fit. Reported is the color difference
(CIE Delta E 2000, sRGB, D65) of the mean reflectance of cheeks and forehead, true and estimated:
by tone, and the largest over the mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

import mofa_jax
from mofa_jax import losses
from mofa_jax.data.synthetic.backgrounds import procedural_background
from mofa_jax.data.synthetic.distributions import sample_params
from mofa_jax.illumination import AMBIENT
from mofa_jax.inference import REFINE_STEPS, Predictor
from mofa_jax.params import FaceParams
from tools.draw_open_model import MONK_TONES, monk_code, skin_vertices

_AMBIENT = 0.95  # the middle of the exposures: a face of the average light has its own colors


def errors_of_tone(
    predict: Predictor, tone: str, num_faces: int, refine_steps: int, seed: int = 0
) -> np.ndarray:
    """The color difference of each face [num_faces] of a tone (sRGB hex)."""
    skin = skin_vertices(predict.model)
    keys = jax.random.split(jax.random.key(seed), num_faces)
    params, images = _faces(keys, jnp.asarray(monk_code(predict.model, tone)), skin, predict)
    estimated = predict(images)
    if refine_steps:
        photographs = np.round(255 * np.asarray(images)).astype(np.uint8)
        codes = predict.refined(np.asarray(estimated.to_code()), photographs, refine_steps)
        estimated = FaceParams.from_code(jnp.asarray(codes), predict.model)
    colors = [
        np.asarray(predict.model.mean_reflectance)[skin].mean(0)
        + np.asarray(code.reflectance) @ _effect(predict.model, skin).T
        for code in (params, estimated)
    ]
    return deltaE_ciede2000(*(rgb2lab(np.clip(color, 0, 1)) for color in colors))


def _effect(model: mofa_jax.FaceModel, skin: np.ndarray) -> np.ndarray:
    """[3, R]: the skin's mean color by the reflectance code."""
    return np.asarray(model.reflectance_basis)[skin].mean(0)


def _faces(keys: jax.Array, tone: jax.Array, skin: np.ndarray, predict: Predictor):
    effect = jnp.asarray(_effect(predict.model, skin))
    others = jnp.eye(len(tone)) - jnp.linalg.pinv(effect) @ effect  # that leave the skin's color

    @jax.jit
    def face(key: jax.Array):
        code_key, light_key, background_key = jax.random.split(key, 3)
        params = sample_params(code_key, predict.model)
        params = params.replace(
            reflectance=tone + others @ params.reflectance, illumination=_light(light_key)
        )
        rendering = mofa_jax.render(params, predict.model, predict.cam)
        background = procedural_background(background_key, predict.cam.image_size)
        image, _ = mofa_jax.rasterize(rendering, predict.model, predict.cam, background)
        return params, jnp.clip(image, 0, 1)

    return jax.lax.map(face, keys)


def _light(key: jax.Array) -> jax.Array:
    """gamma [9, 3] as of the world."""
    exposure_key, color_key, directed_key = jax.random.split(key, 3)
    color = losses.COLOR_SPREAD * jax.random.normal(color_key, (3,))
    exposure = losses.EXPOSURE_SPREAD * jax.random.normal(exposure_key)
    ambient = _AMBIENT * jnp.exp(exposure + color - jnp.mean(color))
    directed = losses.DIRECTED_MEAN + losses.DIRECTED_SPREAD * jax.random.normal(directed_key, (8,))
    light = jnp.concatenate([ambient[None], directed[:, None] * ambient[None, :]])
    return light.at[0].add(-AMBIENT)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", help="of a run, instead of the bundled encoder")
    parser.add_argument("--faces", type=int, default=32, help="of each tone")
    parser.add_argument("--refine", type=int, default=REFINE_STEPS, help="steps of the fit")
    arguments = parser.parse_args(argv)
    predict = mofa_jax.load_for_inference(arguments.workdir)
    means = []
    for k, tone in enumerate(MONK_TONES, start=1):
        errors = errors_of_tone(predict, tone, arguments.faces, arguments.refine)
        means.append(errors.mean())
        print(f"tone {k} (#{tone}): {errors.mean():.1f}, median {np.median(errors):.1f}")
    mean = np.mean(means)
    print(f"all: {mean:.1f}; the largest tone's error is {max(means) / mean:.2f} times the mean")


if __name__ == "__main__":
    main()
