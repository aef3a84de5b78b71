"""The whole pipeline in some minutes on a laptop CPU, on synthetic faces alone.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.data.kind = "synthetic"
    config.num_steps = 300
    config.eval_every = 300
    config.image_every = 300
    config.data.num_eval = 64
    config.reconstruct = "astronaut"
    return config
