"""The published networks in PyTorch with random weights, and comparisons with them."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mofa_jax.encoders.pretrained import load_pretrained

torch = pytest.importorskip("torch")

VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG_MEAN = (129.1863, 104.7624, 93.5940)
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
SLIM = 1 / 16


def caffe_alexnet(width=SLIM, classes=1000):
    c = [round(width * n) for n in (96, 256, 384, 384, 256, 4096)]
    nn = torch.nn

    def norm():
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = [
        *[("conv1", nn.Conv2d(3, c[0], 11, 4)), ("relu1", nn.ReLU())],
        *[("norm1", norm()), ("pool1", pool())],
        *[("conv2", nn.Conv2d(c[0], c[1], 5, padding=2, groups=2)), ("relu2", nn.ReLU())],
        *[("norm2", norm()), ("pool2", pool())],
        *[("conv3", nn.Conv2d(c[1], c[2], 3, padding=1)), ("relu3", nn.ReLU())],
        *[("conv4", nn.Conv2d(c[2], c[3], 3, padding=1, groups=2)), ("relu4", nn.ReLU())],
        *[("conv5", nn.Conv2d(c[3], c[4], 3, padding=1, groups=2)), ("relu5", nn.ReLU())],
        *[("pool5", pool()), ("flatten", nn.Flatten())],
        *[("fc6", nn.Linear(c[4] * 36, c[5])), ("relu6", nn.ReLU())],
        *[("fc7", nn.Linear(c[5], c[5])), ("relu7", nn.ReLU())],
        ("fc8", nn.Linear(c[5], classes)),
    ]
    return _random_weights(nn.Sequential(OrderedDict(layers)))


def torchvision_alexnet(width=SLIM):
    c = [round(width * n) for n in (64, 192, 384, 256, 256, 4096)]
    nn = torch.nn
    net = nn.Module()
    net.features = nn.Sequential(
        *[nn.Conv2d(3, c[0], 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(c[0], c[1], 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(c[1], c[2], 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(c[2], c[3], 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(c[3], c[4], 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)],
    )
    net.classifier = nn.Sequential(
        *[nn.Dropout(), nn.Linear(c[4] * 36, c[5]), nn.ReLU()],
        *[nn.Dropout(), nn.Linear(c[5], c[5]), nn.ReLU(), nn.Linear(c[5], 1000)],
    )
    return _random_weights(net).eval()


def vgg_face(width=SLIM, classes=2622):
    nn, layers, inputs = torch.nn, [], 3
    for block, (channels, depth) in enumerate(VGG_BLOCKS, start=1):
        outputs = round(width * channels)
        for i in range(1, depth + 1):
            layers.append((f"conv{block}_{i}", nn.Conv2d(inputs, outputs, 3, padding=1)))
            layers.append((f"relu{block}_{i}", nn.ReLU()))
            inputs = outputs
        layers.append((f"pool{block}", nn.MaxPool2d(2, 2)))
    hidden = round(width * 4096)
    layers += [("flatten", nn.Flatten()), ("fc6", nn.Linear(inputs * 49, hidden))]
    layers += [("relu6", nn.ReLU()), ("fc7", nn.Linear(hidden, hidden)), ("relu7", nn.ReLU())]
    layers += [("fc8", nn.Linear(hidden, classes))]
    return _random_weights(nn.Sequential(OrderedDict(layers)))


def _random_weights(net):
    """Weights that keep activations of order one hundred, and biases that matter."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        scale = 10.0 if parameter.ndim == 1 else (2.0 / parameter[0].numel()) ** 0.5
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return net


def torch_input(images, size, mean, std=(1.0, 1.0, 1.0), bgr=False):
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = torch.nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True)
    x = (255.0 * x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    return x.flip(1) if bgr else x


def arrays_of(net):
    """{layer: [weight, bias]} of a network with named layers."""
    modules = [(name, module) for name, module in net.named_children() if hasattr(module, "weight")]
    return {name: [m.weight.detach().numpy(), m.bias.detach().numpy()] for name, m in modules}


def crops():
    return np.random.default_rng(1).random((2, 240, 240, 3), np.float32)


def zero_params(encoder):
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 240, 240, 3)))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes["params"])


def _fc7(encoder, params, images):
    """The encoder's activations of fc7, in front of the ReLU."""

    def run(params, images):
        keep = {"capture_intermediates": lambda module, _: module.name == "fc7"}
        _, state = encoder.apply({"params": params}, images, mutable=["intermediates"], **keep)
        return state["intermediates"]["fc7"]["__call__"][0]

    return jax.jit(run)(params, images)


def assert_equal_activations(path, encoder, expected, **options):
    params = load_pretrained(path, encoder, zero_params(encoder), **options)
    actual, expected = _fc7(encoder, params, crops()), expected.detach().numpy()
    assert actual.shape == expected.shape
    assert np.std(expected) > 1.0
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
