"""A sheet of one photograph's edits, for the docs.

python -m tools.draw_edits --output=docs/images/edits.jpg photo.jpg smile.jpg other.jpg
"""

import argparse

import numpy as np

from mofa_jax.data.faces.crop import resample
from mofa_jax.edit import Edits, draw_edit
from mofa_jax.editing import named_light
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import contact_sheet, write_image
from mofa_jax.reconstruction.pictured_face import FaceLoader, PicturedFace

_SIZE, _AROUND = 300, 1.25  # px of a picture; of the crop's side that it shows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs=3, help="a face, a smiling one, another person's")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    loader = FaceLoader()
    face, smiling, other = map(loader.load, arguments.photographs)
    rows = [
        {
            "photograph": (face, None),
            "--relight=left": (face, Edits(light=named_light("left"))),
            "--relight=above": (face, Edits(light=named_light("above"))),
            "--yaw=-12": (face, Edits(angles=(-12.0, None, None))),
            "--exaggerate=1.8": (face, Edits(shape=1.8)),
        },
        {
            "smile.jpg": (smiling, None),
            "--expression_from=smile.jpg": (face, Edits(expression_from=smiling.params)),
            "other.jpg": (other, None),
            "--morph_with=other.jpg": (face, Edits(other)),
            "the same, --t=1": (face, Edits(other, 1.0)),
        },
    ]
    sheet = []
    for row in rows:
        panels = [_panel(shown, edits, loader.model) for shown, edits in row.values()]
        sheet.append(contact_sheet([np.concatenate(panels, axis=1)], header=list(row)))
    write_image(arguments.output, contact_sheet(sheet))


def _panel(face: PicturedFace, edits: Edits | None, model: FaceModel) -> np.ndarray:
    """What is around the face in its photograph, edited if there are edits."""
    picture = face.photograph if edits is None else draw_edit(face, edits, model)[1]
    side = face.cam.image_size[0]
    scale, margin = _AROUND * side / _SIZE, (1 - _AROUND) / 2 * side
    view = np.array([[scale, 0, margin], [0, scale, margin], [0, 0, 1]])
    return resample(picture, face.crop_to_photograph @ view, _SIZE)


if __name__ == "__main__":
    main()
