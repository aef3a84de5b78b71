r"""FFHQ's folder, `images1024x1024/00000/00000.png`; nobody is named, so nobody comes twice.

python -m mofa_jax.prepare_corpus --config=configs/corpora/ffhq.py --output=corpora/ffhq \
    --config.source.path=images1024x1024
"""

from configs.corpora.default import get_config as get_config
