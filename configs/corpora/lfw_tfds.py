"""Labeled Faces in the Wild through TFDS, prepared with file_format='array_record'.

python -m mofa_jax.prepare_corpus --config=configs/corpora/lfw_tfds.py --output=corpora/lfw
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.source.kind = "tfds"
    config.source.path = "lfw"
    config.source.person = "label"
    return config
