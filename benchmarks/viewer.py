"""How long the viewer takes from a slider's new value to what is sent to the browser.

python -m benchmarks.viewer
"""

import time

import numpy as np
import skimage.data

from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.reconstruction.pictured_face import FaceLoader
from mofa_jax.viewer.controls import controls_of
from mofa_jax.viewer.drawing import crop_picture, draft, edited_picture, overlay_picture

_CHANGES = 100


def main() -> None:
    loader = FaceLoader()
    face = loader.find(skimage.data.astronaut())
    controls, params, rng = controls_of(loader.model), face.params, np.random.default_rng(0)
    crop, at_once, at_rest = crop_picture(face), [], []
    for k in range(-len(controls), _CHANGES):  # each is compiled first
        control = controls[k % len(controls)]
        start = time.perf_counter()
        params = control.write(face.params, rng.uniform(0.5 * control.low, 0.5 * control.high))
        _, picture = draft(crop, params, loader.model, face.cam)
        encode_photograph(picture, "jpeg")
        drawn = time.perf_counter()
        overlay_picture(crop, params, loader.model, face.cam)
        edited_picture(face, params, loader.model)
        if k >= 0:
            at_once.append(drawn - start)
            at_rest.append(time.perf_counter() - drawn)
    for what, times in (("draft", at_once), ("edited photograph", at_rest)):
        median, slow = 1e3 * np.quantile(times, (0.5, 0.95))
        print(f"{what}: median {median:.0f} ms, 95th percentile {slow:.0f} ms")


if __name__ == "__main__":
    main()
