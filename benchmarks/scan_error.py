"""How far reconstructions are from faces of another model: a stand-in for FaceWarehouse's meshes.

    python -m benchmarks.scan_error --truth=ict.npz --output=scan_error

Random identities with random expressions of a face model that the encoder was not trained with,
rendered before procedural backgrounds. `scan_error`, mm, over the true vertices of the frontal
face: of the bundled encoder, of `mofa_jax.fit` from its code, of the average face of the
encoder's model, and the bound, the face of that model that lies nearest to the truth. Writes
scan_error.json and faces.png (of three faces input, reconstructions and true shape).
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy.spatial import cKDTree
from tqdm import tqdm

import mofa_jax
from benchmarks.open_model_coverage import Fitter, Surface, inside_polygon, skin_vertices
from mofa_jax.data.synthetic.examples import as_stored, example_keys, synthetic_batch
from mofa_jax.evaluation.scans import scan_error
from mofa_jax.evaluation.statistics import describe
from mofa_jax.export.benchmarks import NOW_LANDMARKS
from mofa_jax.face_model import MM_PER_DM
from mofa_jax.figures import contact_sheet, five_panels, write_image
from mofa_jax.files.writing import write_json
from mofa_jax.params import FaceParams
from mofa_jax.provenance import provenance

_TRUTH = flags.DEFINE_string("truth", None, "Face model of the true faces, npz.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the results.", required=True)
_COUNT = flags.DEFINE_integer("count", 20, "Faces.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the faces.")

RADIUS = 0.8  # dm, around the nose's tip: both models' borders are farther away
BESIDE, BEHIND = 0.015, 0.04  # dm: so near to a vertex that lies so far before it, one is inside
_PICTURED = 3
_HEADER = ("input", "encoder", "", "fit", "", "truth")


def frontal_face(model: mofa_jax.FaceModel) -> np.ndarray:
    """The skin around the nose, without eyes and the insides of nostrils and mouth: [N] bool."""
    points, marks = np.asarray(model.mean_shape), np.asarray(model.mean_shape[model.landmarks])
    chosen = np.linalg.norm(points - marks[30], axis=1) < RADIUS
    for outline in (marks[36:42], marks[42:48], marks[60:68]):
        chosen &= ~inside_polygon(points[:, :2], outline[:, :2])
    before = cKDTree(points[:, :2]).query_ball_point(points[:, :2], BESIDE)
    foremost = np.array([points[near, 2].max() for near in before])
    return chosen & (points[:, 2] > foremost - BEHIND)


def estimates(predict: mofa_jax.Predictor, batch: dict) -> dict[str, np.ndarray]:
    """Codes [B, D] by the name of what found them."""
    images, known = np.asarray(batch["image"]), np.asarray(batch["landmarks"])
    encoded = np.asarray(predict(images).to_code())
    fitted = predict.refined(encoded, images, 10)
    init = [FaceParams.from_code(jnp.asarray(code), predict.model) for code in encoded]
    held = [
        mofa_jax.fit(image, predict.model, predict.cam, points, init=start, num_steps=50).params
        for image, points, start in zip(images, known, init, strict=True)
    ]
    return {
        "average face": np.zeros_like(encoded),
        "encoder": encoded,
        "fit, 10 steps": fitted,
        "fit to true landmarks, 50 steps": np.stack([params.to_code() for params in held]),
    }


def nearest_face(fitter: Fitter, truth: np.ndarray, triangles: np.ndarray, marks) -> np.ndarray:
    """The vertices [N, 3] of the encoder's model, laid on a true face by shape and expression."""
    return fitter.fit(Surface(truth, triangles), truth[marks])


def _vertices(codes: np.ndarray, model: mofa_jax.FaceModel) -> np.ndarray:
    params = FaceParams.from_code(jnp.asarray(codes), model)
    geometry = jax.jit(jax.vmap(lambda p: model.geometry(p.shape, p.expression)))
    return np.asarray(geometry(params), np.float64)


def _fitter(model: mofa_jax.FaceModel) -> Fitter:
    """That of `open_model_coverage`, for shape and expression."""
    arrays = model.to_arrays()
    both = np.concatenate([arrays["shape_basis"], arrays["expression_basis"]], axis=-1)
    return Fitter({**arrays, "shape_basis": both}, skin_vertices(arrays)[::10])


def _error(estimate, truth, model, true_model, region) -> float:
    """`scan_error` of vertices in dm, mm."""
    found = scan_error(
        MM_PER_DM * estimate,
        np.asarray(model.triangles),
        MM_PER_DM * truth,
        MM_PER_DM * estimate[np.asarray(model.landmarks)[NOW_LANDMARKS]],
        MM_PER_DM * truth[np.asarray(true_model.landmarks)[NOW_LANDMARKS]],
        region=region,
    )
    return found.mean


def _draw(path: Path, batch: dict, codes: dict[str, np.ndarray], predict, true_model) -> None:
    rows, size = [], predict.cam.image_size[1]
    for i, image in enumerate(np.asarray(batch["image"])[:_PICTURED]):
        parts = [image]
        for name in ("encoder", "fit, 10 steps"):
            params = FaceParams.from_code(jnp.asarray(codes[name][i]), predict.model)
            panels = five_panels(image, params, predict.model, predict.cam)
            parts.append(panels[:, size : 3 * size])  # overlay and geometry
        true = FaceParams.from_code(jnp.asarray(batch["code"][i]), true_model)
        truth = five_panels(image, true, true_model, predict.cam)
        parts.append(truth[:, 2 * size : 3 * size])
        rows.append(np.concatenate(parts, axis=1))
    write_image(path, contact_sheet(rows, header=_HEADER))


def main(_) -> None:
    start, output = time.monotonic(), Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    predict, true_model = mofa_jax.load_for_inference(), mofa_jax.load_face_model(_TRUTH.value)
    keys = example_keys(_SEED.value, 0, _COUNT.value, "eval")
    batch = jax.device_get(as_stored(synthetic_batch(keys, true_model, predict.cam)))
    codes = estimates(predict, batch)
    _draw(output / "faces.png", batch, codes, predict, true_model)
    truths, region = _vertices(batch["code"], true_model), frontal_face(true_model)
    found = {name: _vertices(code, predict.model) for name, code in codes.items()}
    fitter, triangles = _fitter(predict.model), np.asarray(true_model.triangles)
    marks = np.asarray(true_model.landmarks)
    errors: dict[str, list[float]] = {name: [] for name in (*found, "bound")}
    for i, truth in enumerate(tqdm(truths, desc="Measuring", unit="face")):
        faces = {name: vertices[i] for name, vertices in found.items()}
        faces["bound"] = nearest_face(fitter, truth, triangles, marks)
        for name, vertices in faces.items():
            errors[name].append(_error(vertices, truth, predict.model, true_model, region))
    seconds = round(time.monotonic() - start, 1)
    statistics = {name: describe(np.array(values)) for name, values in errors.items()}
    content = {"vertices": int(region.sum()), "seconds": seconds, "statistics": statistics}
    write_json(output / "scan_error.json", {**provenance(), **content, "errors": errors})
    print(f"| {_COUNT.value} faces, mm | mean | median | smallest | largest |")
    print("|---|---|---|---|---|")
    for name, row in statistics.items():
        numbers = (f"{row[key]:.2f}" for key in ("mean", "median", "smallest", "largest"))
        print(f"| {name} | {' | '.join(numbers)} |")
    print(f"{seconds} seconds; see {output / 'faces.png'}")


if __name__ == "__main__":
    app.run(main)
