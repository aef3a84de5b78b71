"""AlexNet on faces rendered from random codes before backgrounds: no photograph is read.

    python main.py --config=configs/synthetic.py --workdir=runs/synthetic

The same faces as a data set on disk:

    python -m mofa_jax.render_corpus --config=configs/synthetic.py --output=corpora/synthetic

The held-out errors include the geometric error in millimeters, since the true codes are known.
"""

from ml_collections import ConfigDict

from configs import alexnet_landmarks


def get_config() -> ConfigDict:
    config = alexnet_landmarks.get_config()
    config.data.kind = "synthetic"
    return config
