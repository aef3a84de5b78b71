"""The small encoder on rendered faces: what compact_unsupervised.py starts from.

python main.py --config=configs/compact_synthetic.py --workdir=runs/compact_synthetic
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.num_steps = 2400
    config.optimizer.learning_rate = 5e-4
    config.loss.landmark = 4.0
    config.data.kind = "synthetic"
    config.data.synthetic.yaw = 25.0
    config.data.synthetic.roll = 10.0
    config.data.synthetic.translation_x = config.data.synthetic.translation_y = 0.06
    return config
