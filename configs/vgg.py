r"""The paper's recipe with VGG-Face: no landmark, AdaDelta, 200,000 steps of five photographs.

python main.py --config=configs/vgg.py --workdir=runs/vgg --config.data.path=PHOTOGRAPHS \
    --config.encoder.pretrained=VGG_FACE.caffemodel
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.encoder.name = "vgg_face"
    return config
