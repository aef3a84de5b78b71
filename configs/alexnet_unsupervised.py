r"""AlexNet without any label of a photograph: the losses of compact_unsupervised.py.

    python main.py --config=configs/alexnet_unsupervised.py --workdir=runs/alexnet_unsupervised \
        --config.data.path=PHOTOGRAPHS

A GPU's work: on two CPU cores 1.2 s for 16 faces. On an H200, from He initialization, with
photographs of LFW and All-Age-Faces (--config.data.kind=tfds
--config.data.mixture=corpora/lfw=0.6,corpora/aaf=0.4), on 435 held-out ones of both: 4.30 px and
0.161 after 45 seconds of rendered faces, 3.95 px and 0.153 after a minute of photographs.
"""

from ml_collections import ConfigDict

from configs import compact_unsupervised


def get_config() -> ConfigDict:
    config = compact_unsupervised.get_config()
    config.encoder.name = "alexnet"
    config.encoder.variant = "torchvision"  # Adam's steps drown caffe's first layer
    config.batch_size = config.start.batch_size = 64
    config.start.num_steps = 2500
    config.num_steps = 2000
    config.optimizer.learning_rate = config.start.optimizer.learning_rate = 3e-4
    return config
