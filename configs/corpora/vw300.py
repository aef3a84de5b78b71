r"""300-VW: `001/vid.avi` with `001/annot/000001.pts`, whose landmarks are used.

python -m mofa_jax.prepare_corpus --config=configs/corpora/vw300.py --output=corpora/vw300 \
    --config.source.path=300VW_Dataset_2015_12_14
"""

from ml_collections import ConfigDict

from configs.corpora import videos


def get_config() -> ConfigDict:
    config = videos.get_config()
    config.source.group_pattern = r"^([^/]+)/"
    return config
