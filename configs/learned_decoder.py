r"""The baseline of the paper's Fig. 14: an encoder learned through a decoder that was learned.

python main.py --config=configs/learned_decoder.py --workdir=runs/learned_decoder \
    --config.data.path=PHOTOGRAPHS

The decoder is learned first, from rendered faces and their codes, in the workdir's folder start,
and then held fixed.

Measured in a short form on LFW (docs/results.md has the command), 450 and 150 steps of 8, 16
minutes on 2 CPU cores shared with several other works: from the first step to the last, the pixel
error on 64 held-out photographs falls from 0.370 to 0.274, and the landmark error rises from 7.8 to
46.9 px: the code loses its meaning.
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.start = _rendered_faces()
    config.decoder.name = "convolutional_fixed"
    config.num_steps = 500
    config.loss.landmark = 0.0
    return config


def _rendered_faces() -> ConfigDict:
    config = compact.get_config()
    config.decoder.name = "convolutional_from_codes"
    config.num_steps = 500
    config.optimizer.learning_rate = 1e-3
    config.loss.landmark = 0.0
    config.data.kind = "synthetic"
    config.data.augmentation.flip = 0.0  # codes of mirrored faces are not known
    config.data.num_eval = 64
    # What no code tells is left out of the pictures: but for the background there is no such thing.
    config.data.synthetic.occluder = config.data.synthetic.head = 0.0
    config.data.synthetic.blur = config.data.synthetic.noise = config.data.synthetic.contrast = 0.0
    return config
