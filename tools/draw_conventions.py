"""The picture of docs/conventions.md: every frame and its axes, drawn by the project's own camera.

python -m tools.draw_conventions --output=docs/images/conventions.jpg
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import skimage.data
from matplotlib import pyplot
from matplotlib.axes import Axes

import mofa_jax
from mofa_jax import editing
from mofa_jax.camera import project, rotation_matrix, to_camera_space
from mofa_jax.data.faces.crop import transform_points
from mofa_jax.illumination import AMBIENT, sh_basis

_COLORS = {"x": "tab:red", "y": "tab:green", "z": "tab:blue"}
_BANDS = ("1", "y", "z", "x", "xy", "yz", "3z²-1", "xz", "x²-y²")
_BRIGHTNESS = 0.9  # of the light, 1 = the reflectance itself
_TURN = 25.0  # degrees, of the turned heads
_VIEW = (-35.0, -15.0, 0.0)  # yaw, pitch, roll, degrees: world axes seen from the side and above


class Scene:
    """The average face of the open model in soft light, and the camera."""

    def __init__(self, scale: float = 2.0):
        self.model, self.cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
        self.large = self.cam.scaled(scale)
        light = _BRIGHTNESS * editing.named_light("above")
        average = mofa_jax.FaceParams.neutral(self.model)
        self.average = average.replace(illumination=light.at[0].add(-AMBIENT))

    def turned(self, degrees: tuple[float, float, float]) -> mofa_jax.FaceParams:
        """The average face at a yaw, pitch and roll."""
        return editing.repose(self.average, jnp.radians(jnp.array(degrees)))

    def draw(self, params: mofa_jax.FaceParams) -> np.ndarray:
        """[H, W, 3], on white."""
        return np.clip(self._draw(params, self.model), 0, 1)

    @functools.cached_property
    def _draw(self) -> Callable:
        @jax.jit
        def draw(params, model):
            rendering = mofa_jax.render(params, model, self.large)
            return mofa_jax.rasterize(rendering, model, self.large, jnp.ones(3), 2)[0]

        return draw

    def on_screen(self, params: mofa_jax.FaceParams, points: np.ndarray) -> np.ndarray:
        """World points [K, 3], dm, in a picture of `draw` [K, 2], px."""
        rotation = rotation_matrix(params.rotation)
        cam = self.large
        seen = to_camera_space(jnp.array(points).T, rotation, params.translation, cam.distance)
        return np.asarray(project(seen, cam)).T


def draw_world(axes: Axes, scene: Scene) -> None:
    params = scene.turned(_VIEW)
    _show(axes, scene.draw(params), "World (decimeters, right-handed)")
    origin, *ends = scene.on_screen(params, np.concatenate([np.zeros((1, 3)), 0.85 * np.eye(3)]))
    for name, end in zip("xyz", ends, strict=True):
        _arrow(axes, origin, end, name, _COLORS[name])
    axes.text(0.02, 0.02, "x: viewer's right, y: up, z: out of the face", transform=axes.transAxes)


def draw_camera(axes: Axes, scene: Scene) -> None:
    """Camera space from the side: z to the right, y up, so that x points away from the reader."""
    params, cam = scene.average, scene.cam
    vertices = np.asarray(mofa_jax.render(params, scene.model, cam).vertices)
    axes.scatter(vertices[:, 2], vertices[:, 1], s=0.2, c="0.6")
    slope = cam.image_size[0] / 2 / cam.focal
    for side in (-1, 1):
        axes.plot([0, -11], [0, side * 11 * slope], "0.5", lw=0.8, ls="--")
    _arrow(axes, (0, 0), (1.5, 0), "z", _COLORS["z"])
    _arrow(axes, (0, 0), (0, 1.5), "y", _COLORS["y"])
    axes.plot(0, 0, marker="$\\otimes$", ms=14, color=_COLORS["x"])
    axes.text(0.15, -0.5, "x, into the page", color=_COLORS["x"])
    axes.annotate("", (-cam.distance, -1.7), (0, -1.7), arrowprops={"arrowstyle": "<->"})
    axes.text(-cam.distance / 2, -2.2, f"distance {cam.distance:g} dm", ha="center")
    axes.text(-3.6, 0.1, "looks down -z", ha="center")
    axes.set(title="Camera (decimeters), seen from its left", aspect="equal", ylim=(-2.5, 2.5))
    axes.axis("off")


def draw_screen(axes: Axes, scene: Scene) -> None:
    height, width = scene.cam.image_size
    axes.imshow(scene.draw(scene.average), extent=(0, width, height, 0))
    u, v = scene.cam.principal_point
    axes.plot(u, v, "k+", ms=12)
    axes.text(u + 5, v - 5, f"({u:g}, {v:g})")
    _arrow(axes, (0, 0), (70, 0), "u", "k")
    _arrow(axes, (0, 0), (0, 70), "v", "k")
    axes.text(3, 4, "(0, 0)", va="top")
    axes.text(4, height - 4, "center of the first pixel: (0.5, 0.5)")
    axes.set(title="Screen (pixels)", xlim=(-12, width), ylim=(height, -12))
    axes.set_xticks([0, width])
    axes.set_yticks([0, height])


def draw_photograph(axes: Axes) -> None:
    photograph = skimage.data.astronaut()
    (face,) = mofa_jax.load_for_inference().photographs([photograph])
    _show(axes, photograph, "Photograph: detector's box, crop")
    x, y, width, height = face.crop.box
    axes.add_patch(pyplot.Rectangle((x, y), width, height, fill=False, ec="w", ls="--"))
    side = face.crop.image.shape[0]
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], float)
    square = transform_points(face.crop.to_photograph, corners)
    axes.set(xlim=(x - width, x + 2 * width), ylim=(y + 2 * height, y - height))
    axes.add_patch(pyplot.Polygon(square, fill=False, ec="gold", lw=2))
    _arrow(axes, square[0], square[1], "u", "gold")
    _arrow(axes, square[0], square[3], "v", "gold")


def draw_texture(axes: Axes, model: mofa_jax.FaceModel) -> None:
    u, v = np.asarray(model.uv).T
    axes.scatter(u, v, s=1.5, c=np.clip(model.mean_reflectance, 0, 1))
    _arrow(axes, (0, 0), (0.35, 0), "u", "k")
    _arrow(axes, (0, 0), (0, 0.35), "v", "k")
    axes.set(title="Texture coordinates: origin bottom left", aspect="equal")
    axes.set_xticks([0, 1])
    axes.set_yticks([0, 1])


def draw_environment(axes: Axes) -> None:
    """The directions, camera space, in an equirectangular picture."""
    elevation, azimuth = np.radians(np.mgrid[90:-90:-1, -180:180])
    x, z = np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth)
    colors = 0.75 + 0.25 * np.stack([x, np.sin(elevation), z], axis=-1)
    axes.imshow(colors, extent=(0, 360, 180, 0))
    axes.set(title="Environment: an equirectangular picture, as camera directions")
    axes.set(xticks=[], yticks=[])
    places = {
        "-z\nbehind the face": (180, 90),
        "+x": (270, 90),
        "-x": (90, 90),
        "+z, behind the camera": (3, 125),
        "+z": (357, 90),
        "+y, above": (180, 10),
        "-y, below": (180, 170),
    }
    for text, (column, row) in places.items():
        edge = {3: "left", 357: "right"}.get(column, "center")
        axes.text(column, row, text, ha=edge, va="center")


def draw_turn(axes: Axes, scene: Scene, index: int) -> None:
    name, where = (("yaw", "viewer's left"), ("pitch", "up"), ("roll", "clockwise"))[index]
    degrees = [0.0, 0.0, 0.0]
    degrees[index] = _TURN
    _show(axes, scene.draw(scene.turned(tuple(degrees))), f"{name} +{_TURN:g}°: {where}")


def draw_bands(axes: Axes) -> None:
    """The nine basis functions on spheres as the camera sees them."""
    side, columns = 60, 3
    x, y = np.meshgrid(*[np.linspace(-1.1, 1.1, side)] * 2)
    inside = x**2 + y**2 < 1
    z = np.sqrt(np.where(inside, 1 - x**2 - y**2, 0))
    bands = sh_basis(jnp.array([x.ravel(), -y.ravel(), z.ravel()])).reshape(-1, side, side)
    tiles = np.where(inside, bands, np.nan).reshape(columns, columns, side, side)
    sheet = tiles.swapaxes(1, 2).reshape(columns * side, columns * side)
    axes.imshow(sheet, cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    for number, name in enumerate(_BANDS):
        row, column = divmod(number, columns)
        axes.text(column * side + 1, row * side + 7, f"{number}: {name}", fontsize=8)
    axes.set_title("Light: H₀ to H₈ (red above 0)")
    axes.axis("off")


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    height, width = image.shape[:2]
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set_title(title)
    axes.axis("off")


def _arrow(axes: Axes, start, end, name: str, color: str) -> None:
    style = {"arrowstyle": "-|>", "color": color, "lw": 2.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style, annotation_clip=False)
    beyond = np.asarray(end) + 0.08 * (np.asarray(end) - np.asarray(start))
    axes.text(*beyond, name, color=color, fontsize=14, weight="bold", ha="center", va="center")


def draw_conventions(output: Path) -> None:
    """Writes the picture."""
    scene = Scene()
    figure = pyplot.figure(figsize=(16, 12), layout="constrained")
    grid = figure.add_gridspec(3, 4)
    draw_world(figure.add_subplot(grid[0, 0]), scene)
    draw_camera(figure.add_subplot(grid[0, 1:3]), scene)
    draw_screen(figure.add_subplot(grid[0, 3]), scene)
    draw_photograph(figure.add_subplot(grid[1, 0]))
    draw_texture(figure.add_subplot(grid[1, 1]), scene.model)
    draw_environment(figure.add_subplot(grid[1, 2:]))
    for index in range(3):
        draw_turn(figure.add_subplot(grid[2, index]), scene, index)
    draw_bands(figure.add_subplot(grid[2, 3]))
    figure.savefig(output, dpi=100, pil_kwargs={"quality": 88})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    matplotlib.use("Agg")
    draw_conventions(parser.parse_args().output)


if __name__ == "__main__":
    main()
