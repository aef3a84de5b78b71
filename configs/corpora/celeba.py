r"""CelebA, its folder of aligned or unaligned photographs, with its table of identities.

python -m mofa_jax.prepare_corpus --config=configs/corpora/celeba.py --output=corpora/celeba \
    --config.source.path=img_celeba --config.source.group_file=identity_CelebA.txt
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.eval_count, config.eval_fraction = 5000, 0.0
    return config
