r"""FaceWarehouse's photographs: `Tester_1/TrainingPose/pose_0.png`.

python -m mofa_jax.prepare_corpus --config=configs/corpora/facewarehouse.py \
    --output=corpora/facewarehouse --config.source.path=FaceWarehouse
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.source.group_pattern = r"(Tester_\d+)"
    return config
