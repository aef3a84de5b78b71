"""CelebA through TFDS (`celeb_a`), which does not say who is shown.

python -m mofa_jax.prepare_corpus --config=configs/corpora/celeba_tfds.py --output=corpora/celeba
"""

from ml_collections import ConfigDict

from configs.corpora import celeba


def get_config() -> ConfigDict:
    config = celeba.get_config()
    config.source.kind = "tfds"
    config.source.path = "celeb_a"
    return config
