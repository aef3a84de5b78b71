"""Draws the pictures of docs/open_model.md with the project's own renderer.

python -m tools.draw_open_model docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax import Camera, FaceModel, FaceParams, load_face_model, rasterize, render

MONK_TONES = (
    "f6ede4",
    "f3e7db",
    "f7ead0",
    "eadaba",
    "d7bd96",
    "a07e56",
    "825c43",
    "604134",
    "3a312a",
    "292420",
)
_BACKGROUND = 0.93
_FULL_AMBIENT = 0.3  # with the renderer's own 0.7 this makes one


class Pictures:
    """Renders codes of one model, `scale` times the default camera's 240 px."""

    def __init__(self, model: FaceModel, scale: float):
        self.model, self.camera = model, Camera().scaled(scale)
        self._neutral = jax.tree.map(np.asarray, FaceParams.neutral(model))

        def draw(params: FaceParams, model: FaceModel) -> jax.Array:
            rendering = render(params, model, self.camera)
            background = jnp.full(3, _BACKGROUND)
            return rasterize(rendering, model, self.camera, background, supersample=2)[0]

        self._draw = jax.jit(draw)

    def __call__(self, **changes: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 of the average face with the given fields of its code changed."""
        changes.setdefault("illumination", soft_light())
        changes = {key: np.asarray(value, np.float32) for key, value in changes.items()}
        image = np.asarray(self._draw(self._neutral.replace(**changes), self.model))
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

    def landmarks(self) -> np.ndarray:
        """The average face with the 68 landmarks and their numbers."""
        image = np.ascontiguousarray(self())
        screen = render(FaceParams.neutral(self.model), self.model, self.camera).screen
        for number, vertex in enumerate(np.asarray(self.model.landmarks)):
            x, y = (round(float(c)) for c in screen[vertex])
            cv2.circle(image, (x, y), 2, (220, 30, 30), -1, cv2.LINE_AA)
            cv2.putText(image, str(number), (x + 3, y - 2), 0, 0.32, (20, 20, 160), 1, cv2.LINE_AA)
        return image


def soft_light() -> np.ndarray:
    """[9, 3]: white light from above and the front."""
    light = np.zeros((9, 3))
    light[:4] = np.array([0.22, 0.08, 0.13, -0.04])[:, None]
    return light


def random_light(rng: np.random.Generator) -> np.ndarray:
    """[9, 3]: light from a random direction in front, a little colored."""
    direction = rng.normal(size=3) * [1, 0.8, 0.5] + [0, 0.4, 1]
    direction /= np.linalg.norm(direction)
    light = np.zeros((9, 3))
    light[0] = rng.uniform(0.05, 0.22)
    light[1:4] = rng.uniform(0.06, 0.22) * direction[[1, 2, 0], None]
    light[4:] = 0.02 * rng.normal(size=(5, 1))
    return light * (1 + 0.05 * rng.normal(size=3))


def people(pictures: Pictures, rng: np.random.Generator) -> list[np.ndarray]:
    """24 random people at full standard deviations; the second half with expressions."""
    sizes = pictures.model.code_sizes
    out = []
    for person in range(24):
        shape, expression, reflectance = (rng.normal(size=size) for size in sizes)
        out.append(
            pictures(
                shape=shape,
                expression=expression * (person >= 12),
                reflectance=reflectance,
                rotation=rng.normal(size=3) * [0.08, 0.25, 0.04],
                illumination=random_light(rng),
            )
        )
    return out


def modes(pictures: Pictures, field: str) -> list[np.ndarray]:
    """The first eight modes of a basis at -2 (first row) and +2 (second row) sigma."""
    size = dict(
        zip(("shape", "expression", "reflectance"), pictures.model.code_sizes, strict=True)
    )[field]
    return [pictures(**{field: sign * np.eye(size)[mode]}) for sign in (-2, 2) for mode in range(8)]


def skin_vertices(model: FaceModel) -> np.ndarray:
    """[N] bool: cheeks and forehead."""
    points = np.asarray(model.mean_shape)
    marks = points[np.asarray(model.landmarks)]
    places = [marks[[2, 31]].mean(0), marks[[14, 35]].mean(0), marks[27] + [0, 0.4, 0]]
    return np.any([np.linalg.norm(points[:, :2] - p[:2], axis=1) < 0.12 for p in places], axis=0)


def monk_code(model: FaceModel, tone: str) -> np.ndarray:
    """The reflectance code of least norm whose cheeks and forehead have the tone (sRGB hex)."""
    skin = skin_vertices(model)
    goal = np.array([int(tone[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    effect = np.asarray(model.reflectance_basis, np.float64)[skin].mean(0)
    gap = goal - np.asarray(model.mean_reflectance)[skin].mean(0)
    return effect.T @ np.linalg.solve(effect @ effect.T, gap)


def monk_row(pictures: Pictures) -> list[np.ndarray]:
    """The ten tones at full ambient light, each above its swatch."""
    light = np.zeros((9, 3))
    light[0] = _FULL_AMBIENT
    panels = []
    for tone in MONK_TONES:
        code = monk_code(pictures.model, tone)
        print(f"{tone}: norm {np.linalg.norm(code):.2f}, largest entry {np.abs(code).max():.2f}")
        panel = pictures(reflectance=code, illumination=light)
        panel[-panel.shape[0] // 8 :] = [int(tone[i : i + 2], 16) for i in (0, 2, 4)]
        panels.append(panel)
    return panels


def sheet(panels: list[np.ndarray], columns: int) -> np.ndarray:
    rows = [np.concatenate(panels[i : i + columns], 1) for i in range(0, len(panels), columns)]
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="open")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = load_face_model(arguments.model)
    large, small = Pictures(model, 2.0), Pictures(model, 0.75)
    views = [large(rotation=np.array([0, angle, 0])) for angle in (-0.7, 0, 0.7)]
    sheets = {
        "mean": sheet([*views, large.landmarks()], 4),
        "people": sheet(people(small, np.random.default_rng(arguments.seed)), 6),
        "tones": sheet(monk_row(small), 10),
        **{
            field: sheet(modes(small, field), 8) for field in ("shape", "expression", "reflectance")
        },
    }
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, image in sheets.items():
        path = arguments.folder / f"open_model_{name}.jpg"
        cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
