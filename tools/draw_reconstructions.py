"""A sheet of photographs and their reconstructions, as of `reconstruct`, for the docs.

python -m tools.draw_reconstructions --output=docs/images/faces.jpg photo.jpg more/*.jpg
"""

import argparse

import jax
import numpy as np

import mofa_jax
from mofa_jax.figures import panels_grid, write_image
from mofa_jax.inference import REFINE_STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--output", required=True)
    parser.add_argument("--workdir", help="of a run, instead of the bundled encoder")
    parser.add_argument("--refine", type=int, default=REFINE_STEPS)
    arguments = parser.parse_args()
    predict = mofa_jax.load_for_inference(arguments.workdir)
    faces = predict.photographs(arguments.photographs, arguments.refine)
    if not faces:
        raise SystemExit("none of the photographs shows a face")
    images = np.stack([face.crop.image for face in faces])
    params = jax.tree.map(lambda *fields: np.stack(fields), *(face.params for face in faces))
    write_image(arguments.output, panels_grid(images, params, predict.model, predict.cam))


if __name__ == "__main__":
    main()
