"""The baseline of the paper's Fig. 13: a convolutional autoencoder, without any face model.

python main.py --config=configs/cae.py --workdir=runs/cae --config.data.path=PHOTOGRAPHS

Measured on LFW, on 2 CPU cores shared with several other works, 13 minutes (5 of processor time):
pixel error on 460 held-out photographs 0.570 at the start, 0.153 after 400 steps, 0.137 after 800.
See docs/results.md.
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.encoder.name = "convolutional"
    config.decoder.name = "convolutional"
    config.num_steps = 800
    config.optimizer.learning_rate = 1e-3
    config.loss.landmark = 0.0
    return config
