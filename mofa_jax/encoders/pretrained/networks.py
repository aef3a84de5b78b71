"""Which published files fit which encoder, and how their layers are called."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import linen as nn

from mofa_jax.encoders.alexnet import AlexNet
from mofa_jax.encoders.pretrained.caffemodel import read_caffemodel
from mofa_jax.encoders.pretrained.errors import PretrainedWeightsError, refuse
from mofa_jax.encoders.pretrained.file_kind import CAFFE, MATCONVNET, TORCH, file_kind
from mofa_jax.encoders.pretrained.matconvnet import read_matconvnet
from mofa_jax.encoders.pretrained.naming import rename_alexnet, rename_vgg_face
from mofa_jax.encoders.pretrained.torch_file import read_state_dict
from mofa_jax.encoders.vgg_face import VGGFace

_IMAGENET_CLASSES = 1000


class Weights(NamedTuple):
    """A file's weights by this project's layer names.

    `layers` is {layer: [kernel, bias]}, kernels [O, I, H, W] or [O, I] as in Caffe and PyTorch;
    `channel_order`, "rgb" or "bgr", is the order of the colors that the first layer expects.
    """

    layers: dict[str, list[np.ndarray]]
    channel_order: str


class Network(NamedTuple):
    """An encoder's published files: a reader for each kind of file that holds its weights.

    `last_map` is the side, in pixels, of the map in front of the first dense layer, fc6.
    """

    title: str
    files: str
    first_layer: str
    last_map: int
    readers: dict[str, Callable[[str | Path], Weights]]

    def read(self, path: str | Path) -> Weights:
        """The weights in the file; PretrainedWeightsError if it is none of the network's."""
        kind = file_kind(path)
        if kind not in self.readers:
            raise self.refuse(path, "", f"a {kind} file")
        return self.readers[kind](path)

    def refuse(self, path: str | Path, detail: str, found: str) -> PretrainedWeightsError:
        """The error for a file of another network; `detail` says what of this one is missing."""
        mend = f"give {self.files}, or choose the encoder that the file belongs to"
        return refuse(path, f"weights of {self.title}{detail}", found, mend)


def network_of(encoder: nn.Module, path: str | Path) -> Network:
    """The network that the encoder is; PretrainedWeightsError if none was ever published."""
    if isinstance(encoder, AlexNet):
        return _ALEXNETS[encoder.variant]
    if isinstance(encoder, VGGFace):
        return _VGG_FACE
    raise PretrainedWeightsError(
        f"{path}: there are pretrained weights for AlexNet and VGGFace, but not for "
        f"{type(encoder).__name__}; choose one of these encoders or train without a weight file."
    )


def _caffe_alexnet(path: str | Path) -> Weights:
    model = read_caffemodel(path)
    if model.name.lower() == "caffenet":
        mend = "download bvlc_alexnet.caffemodel, whose normalization comes before the pooling"
        raise refuse(path, "bvlc_alexnet", "the Caffe reference model CaffeNet", mend)
    return Weights(model.blobs, "bgr")


def _torchvision_alexnet(path: str | Path) -> Weights:
    return Weights(rename_alexnet(read_state_dict(path)), "rgb")


def _caffe_vgg_face(path: str | Path) -> Weights:
    return _not_imagenet(path, Weights(read_caffemodel(path).blobs, "bgr"))


def _torch_vgg_face(path: str | Path) -> Weights:
    return _not_imagenet(path, Weights(*rename_vgg_face(read_state_dict(path))))


def _matconvnet_vgg_face(path: str | Path) -> Weights:
    layers = read_matconvnet(path)
    layers = {name: [_oihw(kernel), *biases] for name, (kernel, *biases) in layers.items()}
    return _not_imagenet(path, Weights(layers, "rgb"))


def _oihw(kernel: np.ndarray) -> np.ndarray:
    """MatConvNet's [H, W, I, O] as [O, I, H, W]; MATLAB drops last dimensions of size one."""
    return kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim)).transpose(3, 2, 0, 1)


def _not_imagenet(path: str | Path, weights: Weights) -> Weights:
    """Refuses the VGG-16 of ImageNet: the same layers, but another normalization of the input."""
    last = weights.layers.get("fc8")
    if last is not None and last[-1].size == _IMAGENET_CLASSES:
        mend = "download VGG-Face, which was trained on faces"
        raise refuse(path, "VGG-Face", "the VGG-16 of ImageNet with its 1000 classes", mend)
    return weights


_ALEXNETS = {
    "caffe": Network(
        title='AlexNet (variant "caffe")',
        files="bvlc_alexnet.caffemodel of the Caffe model zoo",
        first_layer="conv1",
        last_map=6,
        readers={CAFFE: _caffe_alexnet},
    ),
    "torchvision": Network(
        title='AlexNet (variant "torchvision")',
        files="torchvision's alexnet-owt .pth",
        first_layer="conv1",
        last_map=6,
        readers={TORCH: _torchvision_alexnet},
    ),
}
_VGG_FACE = Network(
    title="VGGFace",
    files="VGG-Face as .caffemodel, as MatConvNet's .mat or as a .pth of PyTorch",
    first_layer="conv1_1",
    last_map=7,
    readers={CAFFE: _caffe_vgg_face, TORCH: _torch_vgg_face, MATCONVNET: _matconvnet_vgg_face},
)
