"""A picture of what a face model can do: the mean, its modes, random people, the landmarks."""

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import contact_sheet, draw_landmarks
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import rasterize
from mofa_jax.renderer import compiled_render, render

_COLUMNS = 8
_PANEL = 0.8  # of the default camera's 240 px
_BACKGROUND = 0.92
_CLAY = 0.75
_DEVIATIONS = 2.0  # at which the modes are shown
_DOT = (200, 30, 30)  # of a landmark, RGB


def draw_model_sheet(model: FaceModel, seed: int = 0) -> np.ndarray:
    """The sheet [H, W, 3] uint8, RGB.

    Rows: the mean from five sides, as clay, its triangles' facing and its landmarks; the first four
    modes of shape, expression and reflectance at minus and plus two standard deviations; sixteen
    random people in random light, the second eight with expressions.

    Args:
      model: any.
      seed: of the people.
    """
    rows = [("mean: colors from five sides, clay, landmarks", _mean_row(model))]
    for field in ("shape", "expression", "reflectance"):
        title = f"{field}: modes 1 to 4, at -2 and +2 standard deviations"
        rows.append((title, _draw(model, _modes(model, field))))
    rng = np.random.default_rng(seed)
    rows.append(("random people, neutral", _draw(model, _people(model, rng, 0.0))))
    rows.append(("random people with expressions", _draw(model, _people(model, rng, 1.0))))
    strips = [np.concatenate(list(panels), axis=1) for _, panels in rows]
    return contact_sheet(strips, labels=[title for title, _ in rows])


def _soft_light(count: int) -> np.ndarray:
    """[count, 9, 3]: from above and a little from the viewer's left."""
    light = np.zeros((count, 9, 3), np.float32)
    light[:, 0], light[:, 1], light[:, 2], light[:, 3] = 0.05, 0.10, 0.13, -0.06
    return light


def _neutral(model: FaceModel, count: int) -> FaceParams:
    """`count` average faces in soft light, as NumPy."""
    neutral = FaceParams.neutral(model)
    batch = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], count, axis=0), neutral)
    return batch.replace(illumination=_soft_light(count))


def _mean_row(model: FaceModel) -> np.ndarray:
    params = _neutral(model, _COLUMNS)
    angles = np.array([-1.2, -0.6, 0.0, 0.6, 1.2, 0.0, 0.6, 0.0], np.float32)
    panels = _draw(model, params.replace(rotation=np.outer(angles, [0, 1, 0]).astype(np.float32)))
    clay = model.replace(mean_reflectance=jnp.full_like(model.mean_reflectance, _CLAY))
    views = jax.tree.map(lambda leaf: leaf[5:], params)
    turned = views.replace(rotation=np.outer(angles[5:], [0, 1, 0]).astype(np.float32))
    panels[5:] = _draw(clay, turned)
    panels[7] = _with_landmarks(panels[7], model)
    return panels


def _with_landmarks(panel: np.ndarray, model: FaceModel) -> np.ndarray:
    camera = Camera().scaled(_PANEL)
    screen = np.asarray(compiled_render(FaceParams.neutral(model), model, camera).screen)
    vertices = np.asarray(model.landmarks)
    return draw_landmarks(panel, screen[vertices[vertices >= 0]], color=_DOT, radius=1.75)


def _modes(model: FaceModel, field: str) -> FaceParams:
    params = _neutral(model, _COLUMNS)
    weights = np.zeros_like(getattr(params, field))
    for panel in range(_COLUMNS):
        if panel // 2 < weights.shape[1]:
            weights[panel, panel // 2] = _DEVIATIONS * (-1, 1)[panel % 2]
    return params.replace(**{field: weights})


def _people(model: FaceModel, rng: np.random.Generator, expression: float) -> FaceParams:
    params = _neutral(model, _COLUMNS)
    draw = {key: rng.normal(size=getattr(params, key).shape) for key in ("shape", "reflectance")}
    draw["expression"] = expression * rng.normal(size=params.expression.shape)
    draw["rotation"] = rng.normal(size=(_COLUMNS, 3)) * [0.08, 0.25, 0.04]
    light = rng.normal(size=(_COLUMNS, 9, 1)) * np.array([0.05, *[0.12] * 3, *[0.04] * 5])[:, None]
    draw["illumination"] = params.illumination + light
    return params.replace(**{key: value.astype(np.float32) for key, value in draw.items()})


def _draw(model: FaceModel, params: FaceParams) -> np.ndarray:
    """[B, h, w, 3] uint8 panels of a batch of faces."""
    count = params.shape.shape[0]
    faces = [jax.tree.map(jnp.asarray, params.face(i)) for i in range(count)]
    images = np.stack([np.asarray(_picture(face, model)) for face in faces])
    return (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)


@jax.jit
def _picture(face: FaceParams, model: FaceModel) -> jax.Array:
    camera = Camera().scaled(_PANEL)
    background = jnp.full(3, _BACKGROUND)
    return rasterize(render(face, model, camera), model, camera, background, supersample=2)[0]
