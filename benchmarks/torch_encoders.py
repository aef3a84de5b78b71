"""The encoders' networks in PyTorch: what ours are measured beside. Weights are random."""

from torch import nn

_VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def alexnet(num_outputs: int) -> nn.Sequential:
    """bvlc_alexnet, of images [B, 3, 227, 227]."""

    def norm():
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    return nn.Sequential(
        *[nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()],
        *[nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        *[nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()],
        nn.Linear(4096, num_outputs),
    )


def vgg_face(num_outputs: int) -> nn.Sequential:
    """VGG-Face, of images [B, 3, 224, 224]."""
    layers, inputs = [], 3
    for width, depth in _VGG_BLOCKS:
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(4096, num_outputs))


def compact(num_outputs: int) -> nn.Sequential:
    """`encoders/compact.py`, of images [B, 3, 120, 120]."""
    layers, inputs = [nn.Conv2d(3, 32, 5, 2, 2), nn.ReLU()], 32
    for width in (64, 128, 256, 320):
        layers += [nn.Conv2d(inputs, width, 3, 2, 1), nn.ReLU(), _ResidualBlock(width)]
        inputs = width
    layers += [nn.Flatten(), nn.Linear(320 * 4 * 4, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, num_outputs))


NETWORKS = {"alexnet": (alexnet, 227), "vgg_face": (vgg_face, 224), "compact": (compact, 120)}
"""The networks, and the sides of their input."""


class _ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))

    def forward(self, x):
        return nn.functional.relu(x + self.second(nn.functional.relu(self.first(x))))
