r"""Labeled Faces in the Wild, its folder: `First_Last/First_Last_0001.jpg`, or all files in one.

python -m mofa_jax.prepare_corpus --config=configs/corpora/lfw.py --output=corpora/lfw \
    --config.source.path=lfw-deepfunneled
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.source.group_pattern = r"([^/]+)_\d+\.\w+$"
    return config
