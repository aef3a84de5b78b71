r"""The same faces by several encoders side by side, as overlay and geometry, for the docs.

python -m tools.draw_encoders --run="without landmarks=runs/unsupervised" \
    --run="with landmarks=" --output=docs/images/surrogate.jpg photo.jpg more/*.jpg

A run is a name and a workdir; without a workdir it is the bundled encoder, by whose squares the
faces are cut.
"""

import argparse

import numpy as np

import mofa_jax
from mofa_jax.figures import contact_sheet, panels_grid, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--run", action="append", required=True, help="NAME=WORKDIR")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    runs = dict(run.rsplit("=", 1) for run in arguments.run)
    faces = mofa_jax.load_for_inference().photographs(arguments.photographs)
    if not faces:
        raise SystemExit("none of the photographs shows a face")
    images = np.stack([face.crop.image for face in faces])
    columns, header = [images], ["input"]
    for name, workdir in runs.items():
        columns += overlay_and_geometry(mofa_jax.load_for_inference(workdir or None), images)
        header += [name, ""]
    write_image(arguments.output, contact_sheet(np.concatenate(columns, axis=2), header=header))


def overlay_and_geometry(predict: mofa_jax.Predictor, images: np.ndarray) -> list[np.ndarray]:
    """Both of faces [B, H, W, 3], each [B, H, W, 3]."""
    params = predict(images)
    panels = panels_grid(images, params, predict.model, predict.cam)
    count, height, width, _ = images.shape
    rows = panels[-count * height :].reshape(count, height, -1, width, 3)
    return [rows[:, :, 1], rows[:, :, 2]]


if __name__ == "__main__":
    main()
