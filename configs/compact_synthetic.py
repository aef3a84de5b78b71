"""The small encoder on rendered faces: what compact_unsupervised.py starts from.

python main.py --config=configs/compact_synthetic.py --workdir=runs/compact_synthetic
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.data.kind = "synthetic"
    config.num_steps = 1200
    return config
