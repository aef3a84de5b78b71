r"""A folder of videos: every tenth frame, faces that hardly move left out; a video is one group.

python -m mofa_jax.prepare_corpus --config=configs/corpora/videos.py --output=corpora/videos \
    --config.source.path=FOLDER
"""

from ml_collections import ConfigDict

from configs.corpora import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.source.kind = "videos"
    config.source.every = 10
    return config
