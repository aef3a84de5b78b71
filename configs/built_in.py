r"""The bundled encoder (`mofa_jax.load_for_inference()`): faces of all kinds, cut anyhow.

Needs four prepared corpora:

    P=FOLDER_OF_PHOTOGRAPHS
    python -m mofa_jax.prepare_corpus --config=configs/corpora/lfw.py --output=corpora/lfw \
        --config.source.path=$P/lfw --config.landmarks.file=$P/lfw_landmarks.npz
    python -m mofa_jax.prepare_corpus --config=configs/corpora/w300.py --output=corpora/w300 \
        --config.source.path=$P/w300 --config.landmarks.file=$P/w300/landmarks.json
    python -m mofa_jax.prepare_corpus --config=configs/corpora/folder.py --output=corpora/aaf \
        --config.source.path=$P/aaf
    python -m mofa_jax.render_corpus --config=configs/synthetic.py --output=corpora/rendered \
        --count=3000 --eval_count=300 --config.data.synthetic.yaw=25 \
        --config.data.synthetic.roll=10
    python main.py --config=configs/built_in.py --workdir=runs/built_in
    python -m tools.export_encoder --workdir=runs/built_in

Three minutes on one H100, which another training used too (without loss.closure); ten hours or more
on two CPU cores.

The bundled encoder is taught further, on corpora of your own as well, by starting from it:

    python main.py --config=configs/built_in.py --workdir=runs/further \
        --config.encoder.pretrained=open --config.batch_size=16 --config.num_steps=1500 \
        --config.optimizer.learning_rate=1.5e-4 --config.optimizer.warmup_steps=100 \
        --config.optimizer.factors.reflectance=5 --config.optimizer.factors.illumination=5 \
        --config.data.mixture=corpora/lfw=0.45,corpora/w300=0.15,corpora/aaf=0.2,corpora/rendered=0.2

Each a quarter of an hour on two CPU cores that did other work, too, it learned so, one after the
other: the prior on light that it has now, the open model's lower teeth (both without closure), to
close lips and lids (--config.loss.closure=20), and again (closure 40, seed 1); at last 4,000 steps
at a rate of 2e-4 (seed 2), half an hour. Scores: docs/model_card.md.
"""

from ml_collections import ConfigDict

from configs import compact


def get_config() -> ConfigDict:
    config = compact.get_config()
    config.batch_size = 64
    config.num_steps = 12_000
    config.log_every = 100
    config.image_every = 6000
    config.eval_every = 2000
    config.optimizer.learning_rate = 6e-4
    config.optimizer.warmup_steps = 500
    config.loss.landmark = 4.0  # Eq. 8 alone draws faces too small
    config.loss.closure = 40.0  # Eq. 9 hardly sees whether mouths are closed
    config.loss.regularizer = 1e-4
    config.loss.reflectance = 0.15
    config.loss.light = 60.0
    config.data.kind = "tfds"
    config.data.mixture = "corpora/lfw=0.5,corpora/w300=0.15,corpora/aaf=0.25,corpora/rendered=0.1"
    config.data.augmentation.scale = 0.12
    config.data.augmentation.shift = 24.0
    config.data.augmentation.rotation = 30.0
    config.data.augmentation.occluder = 0.2
    config.data.augmentation.exposure = 0.4
    config.data.augmentation.contrast = 0.2
    config.data.augmentation.color = 0.08
    return config
