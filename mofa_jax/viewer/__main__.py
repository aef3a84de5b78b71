"""Opens the viewer: python -m mofa_jax.viewer photo.jpg

It needs viser: pip install -r requirements-viewer.txt
"""

from collections.abc import Sequence

import skimage.data
from absl import app, flags

from mofa_jax import command_line
from mofa_jax.errors import errors_as_sentences
from mofa_jax.inference import REFINE_STEPS
from mofa_jax.reconstruction.pictured_face import FaceLoader
from mofa_jax.viewer.server import check_server


def main(argv: Sequence[str]) -> None:
    if len(argv) > 2:
        raise app.UsageError("give one photograph, or one .json file, or nothing")
    command_line.begin()
    with errors_as_sentences(f"port {_PORT.value}"):
        check_server(_HOST.value)
        import viser

        from mofa_jax.viewer.page import Page

        loader = FaceLoader(_WORKDIR.value, _FACE_MODEL.value, _REFINE.value)
        if argv[1:]:
            face = loader.load(argv[1], _FACE.value)
        else:
            face = loader.find(skimage.data.astronaut(), index=_FACE.value)
        server = viser.ViserServer(_HOST.value, _PORT.value, "mofa_jax", verbose=False)
        Page(server, loader, face, _MAX_UPLOAD.value)
        print(f"http://{server.get_host()}:{server.get_port()} (Ctrl-C ends)", flush=True)
        try:
            server.sleep_forever()
        except KeyboardInterrupt:
            server.stop()


if __name__ == "__main__":
    _HOST = flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 lets the network in, unasked.",
    )
    _PORT = flags.DEFINE_integer("port", 8080, "Port; the next free one if it is taken.")
    _MAX_UPLOAD = flags.DEFINE_integer(
        "max_upload", 50, "Megabytes of the largest photograph that is taken.", lower_bound=1
    )
    _FACE = flags.DEFINE_integer(
        "face", 0, "Which of the photograph's faces; 0 is the largest.", lower_bound=0
    )
    _REFINE = flags.DEFINE_integer(
        "refine",
        REFINE_STEPS,
        "Steps that make each face fit its photograph first, as of `reconstruct`.",
        lower_bound=0,
    )
    _WORKDIR, _FACE_MODEL = command_line.encoder_flags()
    command_line.run(main)
