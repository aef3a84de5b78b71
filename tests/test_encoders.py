"""The encoders' layers against PyTorch's, and the properties that training relies on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from mofa_jax.encoders import encoder_from_config, make_encoder
from mofa_jax.encoders.layers import Conv, conv2d, local_response_norm, max_pool, preprocess
from mofa_jax.errors import InputError

SLIM = [
    ("alexnet", {"width": 1 / 16}),
    ("alexnet", {"width": 1 / 16, "variant": "torchvision"}),
    ("vgg_face", {"width": 1 / 32}),
]


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _images(batch=2, size=240, seed=0):
    return np.random.default_rng(seed).random((batch, size, size, 3), np.float32)


def _assert_close(actual, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def _nchw(array):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).contiguous().requires_grad_()


def _nhwc(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def _shapes(encoder, size=240):
    return jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


def _initial(encoder, *layers):
    """The initial parameters of some layers; the compiler leaves out the work for the others."""

    def init(key):
        params = encoder.init(key, jnp.zeros((1, 240, 240, 3)))["params"]
        return {name: params[name] for name in layers}

    return jax.jit(init)(jax.random.key(0))


@pytest.mark.parametrize(("name", "fields"), SLIM)
def test_the_last_layer_starts_at_zero(name, fields):
    code = _initial(make_encoder(name, 7, **fields), "code")["code"]
    assert code["kernel"].shape[1] == 7
    assert not code["kernel"].any()
    assert not code["bias"].any()


@pytest.mark.parametrize(("name", "fields"), [*SLIM, ("compact", {"widths": (8, 8, 8, 8, 8)})])
def test_bfloat16_changes_what_the_layers_compute_and_nothing_else(name, fields):
    encoder = make_encoder(name, 7, **fields)
    short = make_encoder(name, 7, dtype="bfloat16", **fields)
    weights = jax.jit(encoder.init)(jax.random.key(0), jnp.zeros((1, 240, 240, 3)))
    assert _shapes(short) == jax.eval_shape(lambda: weights)
    weights["params"]["code"]["kernel"] = _random(*weights["params"]["code"]["kernel"].shape)
    exact, rounded = (jax.jit(each.apply)(weights, _images()) for each in (encoder, short))
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(("name", "fields"), SLIM)
def test_every_parameter_is_reached_by_a_finite_gradient(name, fields):
    encoder = make_encoder(name, 7, **fields)
    params = jax.tree.map(lambda leaf: 0.1 * _random(*leaf.shape), _shapes(encoder))
    loss = jax.jit(lambda params, x: jnp.sum(encoder.apply(params, x) ** 2))
    gradients = jax.tree.leaves(jax.grad(loss)(params, _images(1)))
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("name", "fields", "parameters"),
    [
        ("alexnet", {}, 60_965_224),
        ("alexnet", {"variant": "torchvision"}, 61_100_840),
        ("vgg_face", {}, 138_357_544),
    ],
)
def test_with_1000_outputs_the_networks_have_the_published_number_of_parameters(
    name, fields, parameters
):
    encoder = make_encoder(name, 1000, **fields)
    assert sum(leaf.size for leaf in jax.tree.leaves(_shapes(encoder))) == parameters


def test_hidden_layers_start_with_he_variance():
    for layer in _initial(make_encoder("alexnet", 7, width=0.125), "conv2", "fc7").values():
        fan_in = np.prod(layer["kernel"].shape[:-1])
        assert np.std(layer["kernel"]) == pytest.approx(np.sqrt(2 / fan_in), rel=0.03)


def test_an_unknown_encoder_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r'no encoder "resnet".*"alexnet".*"vgg_face"'):
        make_encoder("resnet", 257)


def test_numbers_of_an_unknown_type_are_refused():
    config = default.get_config().encoder
    config.dtype = "bf16"
    with pytest.raises(InputError, match=r"encoder\.dtype is 'bf16'; choose float32 or bfloat16"):
        encoder_from_config(config, 257)


def test_an_unknown_variant_of_alexnet_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r'no variant "tf"; choose "caffe" or "torchvision"'):
        make_encoder("alexnet", 257, variant="tf")


@pytest.mark.parametrize(("name", "fields"), SLIM)
def test_the_parameters_do_not_depend_on_the_images_size(name, fields):
    encoder = make_encoder(name, 7, **fields)
    assert _shapes(encoder, size=96) == _shapes(encoder, size=300)


@pytest.mark.parametrize(("size", "to"), [(240, 227), (240, 224), (100, 227)])
def test_preprocessing_equals_pytorchs_antialiased_resize(size, to):
    torch = pytest.importorskip("torch")
    images, mean, std = _images(size=size), (10.0, 120.0, 250.0), (1.0, 2.0, 3.0)
    resized = torch.nn.functional.interpolate(
        _nchw(images), size=to, mode="bilinear", antialias=True, align_corners=False
    )
    expected = (255.0 * _nhwc(resized) - np.array(mean)) / np.array(std)
    _assert_close(preprocess(images, to, mean, std), expected, tolerance=1e-4)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"), [(40, 11, 4, 2), (24, 5, 1, 2), (10, 3, 1, 1)]
)
def test_convolution_and_its_gradients_equal_pytorchs(size, kernel_size, stride, padding):
    torch = pytest.importorskip("torch")
    x, kernel = _random(3, size, size, 4), _random(kernel_size, kernel_size, 4, 6, seed=1)
    value, pull_back = jax.vjp(lambda x, k: conv2d(x, k, stride, padding), x, kernel)
    cotangent = _random(*value.shape, seed=2)
    by_x, by_kernel = pull_back(cotangent)

    torch_x = _nchw(x)
    torch_kernel = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous().requires_grad_()
    expected = torch.nn.functional.conv2d(torch_x, torch_kernel, None, stride, padding)
    expected.backward(_nchw(cotangent).detach())
    _assert_close(value, _nhwc(expected))
    _assert_close(by_x, _nhwc(torch_x.grad))
    _assert_close(by_kernel, torch_kernel.grad.permute(2, 3, 1, 0).numpy())


def test_convolution_gradients_are_the_same_under_vmap_and_pmap():
    x, kernel = _random(4, 2, 24, 24, 3), _random(3, 3, 3, 5, seed=1)

    def gradient(x):
        return jax.grad(lambda k: jnp.sum(jnp.sin(conv2d(x, k, 1, 1))))(kernel)

    one_by_one = np.stack([gradient(images) for images in x])
    _assert_close(jax.vmap(gradient)(x), one_by_one)
    devices = min(len(x), jax.local_device_count())
    _assert_close(jax.pmap(gradient)(x[:devices]), one_by_one[:devices])


def test_grouped_convolution_equals_pytorchs():
    torch = pytest.importorskip("torch")
    x = _random(2, 9, 9, 8)
    layer = Conv(6, 5, padding=2, groups=2)
    params = layer.init(jax.random.key(0), x)["params"] | {"bias": _random(6)}
    weight = torch.from_numpy(np.array(params["kernel"])).permute(3, 2, 0, 1)
    bias = torch.from_numpy(params["bias"])
    expected = torch.nn.functional.conv2d(_nchw(x), weight, bias, padding=2, groups=2)
    _assert_close(layer.apply({"params": params}, x), _nhwc(expected))


@pytest.mark.parametrize(("size", "window"), [(55, 3), (13, 3), (28, 2)])
def test_max_pooling_and_its_gradient_equal_pytorchs(size, window):
    torch = pytest.importorskip("torch")
    x = _random(2, size, size, 3)
    value, pull_back = jax.vjp(lambda x: max_pool(x, window, 2), x)
    cotangent = _random(*value.shape, seed=1)

    torch_x = _nchw(x)
    expected = torch.nn.functional.max_pool2d(torch_x, window, 2, ceil_mode=True)
    expected.backward(_nchw(cotangent).detach())
    _assert_close(value, _nhwc(expected))
    _assert_close(pull_back(cotangent)[0], _nhwc(torch_x.grad))


def test_local_response_normalization_and_its_gradient_equal_pytorchs():
    torch = pytest.importorskip("torch")
    x = 300.0 * _random(2, 5, 5, 12)
    value, pull_back = jax.vjp(local_response_norm, x)
    cotangent = _random(*value.shape, seed=1)

    torch_x = _nchw(x)
    expected = torch.nn.functional.local_response_norm(torch_x, 5, alpha=1e-4, beta=0.75, k=1.0)
    expected.backward(_nchw(cotangent).detach())
    _assert_close(value, _nhwc(expected))
    _assert_close(pull_back(cotangent)[0], _nhwc(torch_x.grad))
