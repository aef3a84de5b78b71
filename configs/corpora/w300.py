r"""300-W's photographs with the landmarks that people corrected: `.pts` beside them, or a table.

python -m mofa_jax.prepare_corpus --config=configs/corpora/w300.py --output=corpora/w300 \
    --config.source.path=FOLDER --config.landmarks.file=landmarks.json
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.crop = "landmarks"
    config.landmarks.detector = "none"
    return config
