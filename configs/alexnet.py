r"""The paper's recipe with AlexNet: no landmark, AdaDelta, 200,000 steps of five photographs.

    python main.py --config=configs/alexnet.py --workdir=runs/alexnet \
        --config.data.path=PHOTOGRAPHS --config.encoder.pretrained=bvlc_alexnet.caffemodel

The paper starts from ImageNet weights; without them the encoder starts from He initialization, and
configs/compact_unsupervised.py is the better recipe from scratch. On LFW from He initialization,
60,000 steps (four minutes of an H100) take the photometric error from 0.353 to 0.113 and the
landmark error from 7.3 up to 13.8 px (docs/gpu.md).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    return default.get_config()
