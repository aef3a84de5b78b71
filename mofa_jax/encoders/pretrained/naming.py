"""The names that published networks give to their layers, as this project's layer names."""

import re

import numpy as np

_ALEXNET_CONVS = {0: "conv1", 3: "conv2", 6: "conv3", 8: "conv4", 10: "conv5"}
_VGG_CONVS = {
    **{0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2"},
    **{10: "conv3_1", 12: "conv3_2", 14: "conv3_3"},
    **{17: "conv4_1", 19: "conv4_2", 21: "conv4_3"},
    **{24: "conv5_1", 26: "conv5_2", 28: "conv5_3"},
}


def _sequential(convs: dict[int, str], dense: dict[int, str]) -> dict[str, str]:
    return {f"features.{i}": name for i, name in convs.items()} | {
        f"classifier.{i}": name for i, name in dense.items()
    }


TORCHVISION_ALEXNET = _sequential(_ALEXNET_CONVS, {1: "fc6", 4: "fc7", 6: "fc8"})
TORCHVISION_VGG16 = _sequential(_VGG_CONVS, {0: "fc6", 3: "fc7", 6: "fc8"})

_VGG_PORT = re.compile(
    r"(?:^|\.)(?:conv(?P<apart>_?)(?P<block>[1-5])_(?P<layer>[1-3])(?:-conv)?|fc(?P<fc>[678]))$"
)
"""Layers of PyTorch ports of VGG-Face: conv1_1 or conv_1_1 and fc6, alone or behind a prefix."""


def rename_alexnet(tensors: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """{layer: [weight, bias]} of a state dict of torchvision's AlexNet."""
    return _layers(tensors, TORCHVISION_ALEXNET.get)


def rename_vgg_face(tensors: dict[str, np.ndarray]) -> tuple[dict[str, list[np.ndarray]], str]:
    """{layer: [weight, bias]} of a state dict of a VGG-Face port, and its channels' order.

    Ports of the authors' Torch7 model call the layers conv_1_1 and keep its "bgr"; those of
    MatConvNet's (conv1_1) and those in torchvision's form (features.0) are taken for "rgb".
    """
    torch7 = any((match := _match(key)) and match["apart"] for key in tensors)
    return _layers(tensors, _vgg_layer), "bgr" if torch7 else "rgb"


def _match(key: str) -> re.Match | None:
    return _VGG_PORT.search(key.rpartition(".")[0])


def _vgg_layer(module: str) -> str | None:
    match = _VGG_PORT.search(module)
    if match is None:
        return TORCHVISION_VGG16.get(module)
    return f"fc{match['fc']}" if match["fc"] else f"conv{match['block']}_{match['layer']}"


def _layers(tensors: dict[str, np.ndarray], layer_of) -> dict[str, list[np.ndarray]]:
    """Groups `MODULE.weight` and `MODULE.bias` by layer; DataParallel's `module.` is dropped."""
    found = {}
    for key, weight in tensors.items():
        module, _, part = key.replace("module.", "").rpartition(".")
        layer = layer_of(module)
        if part == "weight" and layer is not None:
            bias = tensors.get(key.removesuffix("weight") + "bias")
            found[layer] = [weight] if bias is None else [weight, bias]
    return found
