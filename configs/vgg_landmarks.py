r"""VGG-Face with the surrogate loss: the paper's recipe and w_land = 1 (Eq. 9).

    python main.py --config=configs/vgg_landmarks.py --workdir=runs/vgg_landmarks \
        --config.data.path=PHOTOGRAPHS --config.encoder.pretrained=VGG_FACE.caffemodel

On LFW from He initialization 25,000 steps, two minutes of an H200 with
--config.encoder.dtype=bfloat16, reach 3.67 px and 0.121 (docs/gpu.md).

Needs landmarks beside the photographs: landmarks.json, landmarks.npz or .pts files.
"""

from ml_collections import ConfigDict

from configs import vgg


def get_config() -> ConfigDict:
    config = vgg.get_config()
    config.loss.landmark = 1.0
    config.data.require_landmarks = True
    return config
