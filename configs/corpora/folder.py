r"""A folder of photographs, below it too; or a glob, or `@list.txt` with one path a line.

python -m mofa_jax.prepare_corpus --config=configs/corpora/folder.py --output=corpora/mine \
    --config.source.path=FOLDER
"""

from configs.corpora.default import get_config as get_config
