"""The whole pipeline in some minutes on a laptop CPU, on synthetic faces alone.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart

Under three minutes on 2 CPU cores. On 64 held-out rendered faces the geometric error falls from
15.3 to 11.8 mm, the landmark error from 11.1 to 8.3 px, the photometric error from 0.364 to 0.160.
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.data.kind = "synthetic"
    config.data.augmentation.flip = 0.0
    config.num_steps = 300
    config.eval_every = 300
    config.image_every = 300
    config.data.num_eval = 64
    config.reconstruct = "astronaut"
    return config
