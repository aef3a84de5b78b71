"""The small encoder on rendered faces: compact_unsupervised.py starts from two thirds of them.

python main.py --config=configs/compact_synthetic.py --workdir=runs/compact_synthetic

The faces smile, wear glasses and have hair before their foreheads, as people in photographs do.
Measured on 2 CPU cores, 45 minutes (65 where other trainings shared them), three seeds: 3.8 to 4.0
px, 7.6 mm and 0.137 on held-out rendered faces; 4.78 to 4.95 px and 0.174 on held-out photographs
of LFW. With bare faces that do not smile 5.22 to 5.27 px after 2,400 steps; after 3,500 steps of 64
of them, on an H200 (two and a half minutes), 4.42 px and 0.159: with --config.batch_size=64
--config.num_steps=3500.
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.num_steps = 3000
    config.eval_every = 1000  # 512 faces are rendered for each
    config.optimizer.learning_rate = 6e-4
    config.loss.landmark = 4.0
    config.loss.regularizer = 5e-5
    config.data.kind = "synthetic"
    config.data.augmentation.flip = 0.0  # codes of mirrored faces are not known
    config.data.synthetic.smile = 0.7
    config.data.synthetic.fringe = 0.5
    config.data.synthetic.glasses = 0.15
    config.data.synthetic.yaw = 25.0
    config.data.synthetic.roll = 10.0
    config.data.synthetic.translation_x = config.data.synthetic.translation_y = 0.06
    return config
