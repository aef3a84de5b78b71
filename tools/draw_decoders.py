r"""Faces as the paper's decoder and the learned ones draw them, for the docs.

python -m tools.draw_decoders --cae=runs/cae --learned=runs/learned_decoder \
    --output=docs/images/decoders.jpg photo.jpg more/*.jpg
"""

import argparse

import cv2
import jax
import numpy as np
from ml_collections import ConfigDict

import mofa_jax
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import Checkpoints, on_first_device
from mofa_jax.face_models.load import load_face_model
from mofa_jax.figures import contact_sheet, panels_grid, write_image
from mofa_jax.training.learner import make_learner

COLUMNS = ("input", "MoFA", "autoencoder", "learned decoder", "its code by MoFA")
_SIDE = 180  # of a face in the sheet, px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--cae", required=True, help="workdir of a run of configs/cae.py")
    parser.add_argument("--learned", required=True, help="of one of configs/learned_decoder.py")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    predict = mofa_jax.load_for_inference()
    faces = predict.photographs(arguments.photographs)
    if not faces:
        raise SystemExit("none of the photographs shows a face")
    images = np.stack([face.crop.image for face in faces])
    params = jax.tree.map(lambda *fields: np.stack(fields), *(face.params for face in faces))
    mofa = panels_grid(images, params, predict.model, predict.cam)
    cae, learned = (picture(workdir, images) for workdir in (arguments.cae, arguments.learned))
    pictures = ((mofa, 0), (mofa, 1), (cae, -1), (learned, -1), (learned, 1))
    columns = [column(picture, place, images.shape) for picture, place in pictures]
    write_image(arguments.output, contact_sheet(np.concatenate(columns, axis=2), header=COLUMNS))


def picture(workdir: str, images: np.ndarray) -> np.ndarray:
    """What a run's learner makes of some faces with its newest checkpoint."""
    with Checkpoints.existing(workdir) as run:
        config = ConfigDict(run.information(run.latest_step)["config"])
        model, cam = load_face_model(config.face_model), make_camera(config.camera)
        learner = make_learner(config, model, cam)
        target = {"weights": on_first_device(learner.random_weights())}
        weights = run.load_part(run.latest_step, target)["weights"]
    return learner.picture(weights, {"image": images})


def column(picture: np.ndarray, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """A column of a picture of B faces without its heading, [B, 180, 180, 3]."""
    count, height, width, _ = shape
    rows = picture[-count * height :].reshape(count, height, -1, width, 3)
    return np.stack(
        [cv2.resize(row, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for row in rows[:, :, place]]
    )


if __name__ == "__main__":
    main()
