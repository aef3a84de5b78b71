r"""AlexNet with the surrogate loss: the paper's recipe and w_land = 1 (Eq. 9).

    python main.py --config=configs/alexnet_landmarks.py --workdir=runs/alexnet_landmarks \
        --config.data.path=PHOTOGRAPHS --config.encoder.pretrained=bvlc_alexnet.caffemodel

On LFW from He initialization the 200,000 steps take six minutes of an H200 with
--config.encoder.dtype=bfloat16 and end at 3.59 px and 0.118 (docs/gpu.md).

Needs landmarks beside the photographs: landmarks.json, landmarks.npz or .pts files.
"""

from ml_collections import ConfigDict

from configs import alexnet


def get_config() -> ConfigDict:
    config = alexnet.get_config()
    config.loss.landmark = 1.0
    config.data.require_landmarks = True
    return config
