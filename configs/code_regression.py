"""The baseline of the paper's Fig. 4 and 5: codes regressed from rendered faces, no decoder.

python main.py --config=configs/code_regression.py --workdir=runs/code_regression

The network and the faces are those of compact_synthetic.py; the loss is the distance to the true
code alone. 34 minutes for the last 2,081 steps, on two CPU cores that other work shared: 7.1 mm,
6.1 px and 0.216 on 512 held-out rendered faces, 6.9 px and 0.274 on photographs of LFW; before
these faces smiled, wore glasses and had hair before the forehead.
"""

from ml_collections import ConfigDict

from configs import compact_synthetic


def get_config() -> ConfigDict:
    config = compact_synthetic.get_config()
    config.loss.photometric = 0.0
    config.loss.landmark = 0.0
    config.loss.regularizer = 0.0
    config.loss.code = 1.0
    return config
