"""A camera's face, live: each frame with the reconstruction laid over it, on a page with its speed.

The page needs viser: pip install -r requirements-viewer.txt
"""

import time

import jax
import numpy as np

from mofa_jax.data.sources.video import read_camera
from mofa_jax.figures import overlay_on_photograph
from mofa_jax.inference import Predictor, Reconstruction
from mofa_jax.results.clip import SHARED, Clip
from mofa_jax.video.head_motion import SMOOTHNESS, decimeter, signals, with_signals
from mofa_jax.video.smoothing import Smoothed, Smoothness, smoothed_further
from mofa_jax.video.tracking import Tracker
from mofa_jax.viewer.server import check_server

_IDENTITY = Smoothness(0.05, 0.0)  # of shape and reflectance, which hardly change
_RATE_SHARE = 0.1  # of the newest frame in the rate


def show_camera(predict: Predictor, camera: str, smooth: bool, host: str, port: int) -> None:
    """Shows a camera's face on a page until it gives no more pictures, or Ctrl-C.

    Args:
      predict: a restored encoder.
      camera: see `read_camera`.
      smooth: whether the face is smoothed over time.
      host: the address to listen on.
      port: the next free one if it is taken.

    Raises:
      InputError: there is no such camera or address, or viser is not installed.
    """
    check_server(host)
    import viser

    face, server, count, start = LiveFace(predict, smooth), None, 0, time.monotonic()
    try:
        for frame in read_camera(camera):
            if server is None:
                server = viser.ViserServer(host, port, "mofa_jax", verbose=False)
                address = f"http://{server.get_host()}:{server.get_port()}"
                speed = server.gui.add_text("Frames/s", "", disabled=True)  # in the page's corner
                print(f"{address} (Ctrl-C ends)", flush=True)
            server.scene.set_background_image(face.drawn(frame, time.monotonic()), "jpeg")
            speed.value = f"{face.rate:.1f}"
            count += 1
    except KeyboardInterrupt:
        pass
    finally:
        if server is not None:
            server.stop()
    print(f"{count} frames, {count / (time.monotonic() - start):.1f} frames a second")


class LiveFace:
    """The face of a stream of frames, smoothed by what came before.

    `rate` is how many frames a second there were lately.
    """

    def __init__(self, predict: Predictor, smooth: bool = True):
        self._predict, self._smooth, self._tracker = predict, smooth, Tracker(predict)
        self._states: dict[str, Smoothed] = {}
        self._unit = 1.0
        self._before: float | None = None
        self.rate = 0.0

    def drawn(self, frame: np.ndarray, now: float) -> np.ndarray:
        """The next frame with its face laid over it.

        Args:
          frame: uint8 [H, W, 3] RGB.
          now: when it was taken, s, later than the one before.
        """
        seconds = 0.0 if self._before is None else max(now - self._before, 1e-3)
        self._before = now
        if seconds:
            share = _RATE_SHARE if self.rate else 1.0
            self.rate += share * (1 / seconds - self.rate)
        face = self._tracker.follow(frame)
        if face is None:
            self._states = {}
        else:
            frame = self._laid_over(frame, face, seconds)
        return frame

    def _laid_over(self, frame: np.ndarray, face: Reconstruction, seconds: float) -> np.ndarray:
        predict, affine = self._predict, face.crop.to_photograph
        clip = _single(predict, face, frame.shape[:2])
        clip = self._smoothed(clip, seconds) if self._smooth else clip
        return overlay_on_photograph(
            frame, affine, clip.face(0), predict.model, predict.cam, draft=True
        )

    def _smoothed(self, clip: Clip, seconds: float) -> Clip:
        if not self._states:
            self._unit = decimeter(clip)
        identity = {name: np.asarray(getattr(clip.params, name)) for name in SHARED}
        for name, rows in (signals(clip, self._unit) | identity).items():
            self._states[name] = smoothed_further(
                self._states.get(name), rows, seconds, SMOOTHNESS.get(name, _IDENTITY)
            )
        return with_signals(clip, {n: s.value for n, s in self._states.items()}, self._unit)


def _single(predict: Predictor, face: Reconstruction, frame_size: tuple[int, int]) -> Clip:
    """A clip of one frame."""
    return Clip(
        params=jax.tree.map(lambda field: np.asarray(field)[None], face.params),
        frames=np.zeros(1, int),
        times=np.zeros(1),
        crop_to_photograph=face.crop.to_photograph[None],
        frame_size=frame_size,
        cam=predict.cam,
        face_model=predict.config.face_model,
        face_model_name=predict.model.name,
    )
