"""Z-buffered pictures of the open model's face: mofa_jax beside DEODR, in alternating runs.

    pip install --no-deps deodr
    python -m benchmarks.rasterizer

DEODR (https://github.com/martinResearch/DEODR) draws in C++, on one thread, in float64. Both are
given the face on the screen and draw its vertex colors, perspective-correct, without smoothed
edges. Before anything is timed, the pictures are compared: they may differ at pixel centers that
lie on an edge. Then ours alone, over the pixels and over the triangles of analytic faces, with
fitted exponents.
"""

from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

import mofa_jax
from benchmarks.measuring import alternate, exponent, print_table, save
from mofa_jax.face_model import face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face

_SIDES = flags.DEFINE_list("sides", ["240", "512", "1024"], "Sides of the picture, px.")
_RESOLUTIONS = flags.DEFINE_list(
    "resolutions", ["100", "200", "400"], "Vertices along a side of the analytic face."
)
_RUNS = flags.DEFINE_integer("runs", 15, "Timed runs of each.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/rasterizer.json", "The numbers.")

_LEAST_IOU = 0.999  # of the two masks


def deodr_scene(rendering: mofa_jax.Rendering, model: mofa_jax.FaceModel, cam: mofa_jax.Camera):
    """DEODR's scene of the same face on the same screen, before zero."""
    import deodr

    num_vertices, num_triangles = model.num_vertices, len(model.triangles)
    triangles = np.asarray(model.triangles, np.uint32)
    return deodr.Scene2D(
        faces=triangles,
        faces_uv=triangles,
        ij=np.asarray(rendering.screen, np.float64),
        depths=-np.asarray(rendering.vertices[:, 2], np.float64),
        textured=np.zeros(num_triangles, bool),
        uv=np.zeros((num_vertices, 2)),
        shade=np.zeros(num_vertices),
        colors=np.asarray(rendering.color, np.float64),
        shaded=np.zeros(num_triangles, bool),
        edgeflags=np.zeros((num_triangles, 3), bool),
        height=cam.image_size[0],
        width=cam.image_size[1],
        nb_colors=3,
        texture=np.zeros((0, 0)),
        background_color=np.zeros(3),
        clockwise=False,
        backface_culling=True,
        perspective_correct=True,
        integer_pixel_centers=False,
    )


def compare(rendering, model, cam: mofa_jax.Camera, runs: int) -> dict[str, float]:
    """How far the two pictures are apart, and how long each takes.

    Raises:
      RuntimeError: the masks differ by more than ties.
    """
    ours, scene = _drawing(rendering, model, cam), deodr_scene(rendering, model, cam)
    image, mask = (np.asarray(x) for x in ours())
    their_image, z_buffer = scene.render(sigma=0)
    theirs, both = np.isfinite(z_buffer), (mask > 0) & np.isfinite(z_buffer)
    iou = both.sum() / ((mask > 0) | theirs).sum()
    if iou < _LEAST_IOU:
        raise RuntimeError(f"the masks' intersection over union is {iou:.4f}")
    difference = np.abs(image - their_image)[both].max(axis=-1)
    times = alternate({"mofa_jax": ours, "DEODR": lambda: scene.render(sigma=0)}, runs)
    return {
        "side": cam.image_size[0],
        "mofa_jax, ms": times["mofa_jax"],
        "DEODR, ms": times["DEODR"],
        "ratio": times["DEODR"] / times["mofa_jax"],
        "IoU": float(iou),
        "color, 99th percentile": float(np.quantile(difference, 0.99)),
    }


def over_pixels(sides: list[int], runs: int) -> list[dict[str, float]]:
    """Ours, of the open model's face at several sizes."""
    model, rows = mofa_jax.load_face_model("open"), []
    for side in sides:
        rendering, cam = _face(model, side)
        ms = alternate({"ms": _drawing(rendering, model, cam)}, runs + 1)["ms"]
        rows.append({"side": side, "pixels": side**2, "ms": ms})
    return rows


def over_triangles(resolutions: list[int], runs: int) -> list[dict[str, float]]:
    """Ours, of analytic faces at 240 px."""
    rows = []
    for resolution in resolutions:
        arrays = analytic_face(resolution, num_shape=1, num_expression=1, num_reflectance=1)
        model = face_model_from_arrays(arrays, "analytic face")
        rendering, cam = _face(model, 240)
        ms = alternate({"ms": _drawing(rendering, model, cam)}, runs + 1)["ms"]
        rows.append({"triangles": len(model.triangles), "ms": ms})
    return rows


def _face(model, side: int) -> tuple[mofa_jax.Rendering, mofa_jax.Camera]:
    """The average face, turned a little, and its camera."""
    params = mofa_jax.FaceParams.neutral(model).replace(rotation=np.array([0.1, 0.3, 0.0], "f4"))
    cam = mofa_jax.Camera().scaled(side / 240)
    return jax.jit(mofa_jax.render)(params, model, cam), cam


def _drawing(rendering, model, cam) -> Callable[[], tuple[jax.Array, jax.Array]]:
    return lambda: jax.block_until_ready(mofa_jax.rasterize(rendering, model, cam))


def main(_) -> None:
    model, sides = mofa_jax.load_face_model("open"), [int(side) for side in _SIDES.value]
    rivals = [compare(*_of(model, side), _RUNS.value) for side in sides]
    print_table(rivals)
    pixels = over_pixels(sides, _RUNS.value)
    triangles = over_triangles([int(r) for r in _RESOLUTIONS.value], _RUNS.value)
    exponents = {}
    for name, rows in (("pixels", pixels), ("triangles", triangles)):
        print_table(rows)
        exponents[name] = exponent([row[name] for row in rows], [row["ms"] for row in rows])
        print(f"exponent of the time over the {name}: {exponents[name]:.2f}\n")
    tables = {"rivals": rivals, "over pixels": pixels, "over triangles": triangles}
    save(_OUTPUT.value, {**tables, "exponents": exponents})


def _of(model, side: int):
    rendering, cam = _face(model, side)
    return rendering, model, cam


if __name__ == "__main__":
    app.run(main)
