"""The small encoder without any label of a photograph: rendered faces first, then photographs.

python main.py --config=configs/compact_synthetic.py --workdir=runs/compact_synthetic
python main.py --config=configs/compact_unsupervised.py --workdir=runs/compact_unsupervised
    --config.encoder.pretrained=runs/compact_synthetic --config.data.path=PHOTOGRAPHS
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.num_steps = 3000
    config.loss.landmark = 0.0
    config.loss.regularizer_start = 6e-4
    config.loss.regularizer = 3e-4
    config.loss.regularizer_steps = 3000
    config.optimizer.learning_rate = 3e-4
    # Free, faces shrink, since a smaller one meets less of the hair and the neck around it.
    config.loss.population_pose = 0.3
    config.optimizer.factors.translation_z = 0.1
    return config
