"""Every published format of weights, through the function that training starts with."""

import jax
import numpy as np
import pytest
import scipy.io
from weight_files import MATLAB_FORMS, SEQUENTIAL, write_caffemodel, write_state_dict

import mofa_jax
from configs import default
from mofa_jax import train
from mofa_jax.checkpoint import CheckpointError
from mofa_jax.encoders import encoder_from_config
from mofa_jax.encoders.alexnet import AlexNet
from mofa_jax.encoders.vgg_face import VGGFace
from mofa_jax.training.initial_weights import initial_weights

SLIM = 1 / 16
ALEXNET_LAYERS = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}


def published(encoder, last_map, classes):
    """{layer: [kernel, bias]} as Caffe and PyTorch have them, random, and the same in Flax's form.

    The dense layer fc6 reads maps channel by channel in the files and pixel by pixel in Flax.
    """
    rng = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((1, 240, 240, 3), np.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), images)["params"]
    files, flax = {}, {}
    for name in sorted(shapes.keys() - {"code"}):
        kernel = rng.normal(size=shapes[name]["kernel"].shape).astype(np.float32)
        bias = rng.normal(size=shapes[name]["bias"].shape).astype(np.float32)
        flax[name] = {"kernel": kernel, "bias": bias}
        if kernel.ndim == 4:
            files[name] = [kernel.transpose(3, 2, 0, 1), bias]
        elif name == "fc6":
            maps = kernel.reshape(last_map, last_map, -1, kernel.shape[-1])
            files[name] = [maps.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1), bias]
        else:
            files[name] = [kernel.T, bias]
    hidden = flax["fc7"]["bias"].size
    files["fc8"] = [np.ones((classes, hidden), np.float32), np.ones(classes, np.float32)]
    return files, flax


def state_dict(files, rename):
    return {
        f"{rename(layer)}.{part}": array
        for layer, arrays in files.items()
        for part, array in zip(("weight", "bias"), arrays, strict=True)
    }


def alexnet_name(layer):
    dense = {"fc6": 1, "fc7": 4, "fc8": 6}
    return f"features.{ALEXNET_LAYERS[layer]}" if layer[0] == "c" else f"classifier.{dense[layer]}"


def vgg_name(layer):
    dense = {"fc6": 0, "fc7": 3, "fc8": 6}
    return f"features.{SEQUENTIAL[layer[4:]]}" if layer[0] == "c" else f"classifier.{dense[layer]}"


def caffe_alexnet(path):
    encoder = AlexNet(257, width=SLIM)
    files, flax = published(encoder, 6, 1000)
    return write_caffemodel(path, files, "AlexNet"), encoder, flax, True


def caffe_vgg_face(path):
    encoder = VGGFace(257, width=SLIM)
    files, flax = published(encoder, 7, 2622)
    return write_caffemodel(path, files, "VGG_FACE_16_layers", v1=True), encoder, flax, True


def torchvision_alexnet(path):
    encoder = AlexNet(257, "torchvision", width=SLIM)
    files, flax = published(encoder, 6, 1000)
    return write_state_dict(path, state_dict(files, alexnet_name)), encoder, flax, False


def torch_vgg_face(path):
    encoder = VGGFace(257, width=SLIM)
    files, flax = published(encoder, 7, 2622)
    return write_state_dict(path, state_dict(files, vgg_name)), encoder, flax, False


def matconvnet_vgg_face(path):
    encoder = VGGFace(257, width=SLIM)
    files, flax = published(encoder, 7, 2622)
    scipy.io.savemat(path, MATLAB_FORMS["vgg-face.mat of MatConvNet"](files))
    return path, encoder, flax, False


@pytest.mark.parametrize(
    "write",
    [caffe_alexnet, caffe_vgg_face, torchvision_alexnet, torch_vgg_face, matconvnet_vgg_face],
    ids=lambda write: write.__name__,
)
def test_training_starts_from_the_files_weights_and_the_zero_code(tmp_path, write):
    path, encoder, expected, bgr = write(tmp_path / "weights.file")
    config = default.get_config()
    config.encoder.pretrained = str(path)
    model = mofa_jax.load_face_model("analytic")
    weights = initial_weights(encoder, config, model, mofa_jax.Camera())
    params = dict(weights["params"])
    assert not any(np.any(leaf) for leaf in params.pop("code").values())
    assert params.keys() == expected.keys()
    for name, layer in expected.items():
        kernel = layer["kernel"]
        if bgr and name in ("conv1", "conv1_1"):
            kernel = kernel[:, :, ::-1]
        np.testing.assert_array_equal(params[name]["kernel"], kernel)
        np.testing.assert_array_equal(params[name]["bias"], layer["bias"])
    encode = jax.jit(encoder.apply)
    assert not np.any(encode(weights, np.full((1, 240, 240, 3), 0.5, np.float32)))


def test_unusable_weight_file_is_refused_before_the_photographs_are_looked_at(
    tmp_path, monkeypatch
):
    config = default.get_config()
    config.face_model, config.encoder.name = "analytic", "alexnet"
    config.data.path = str(tmp_path / "photographs")
    config.encoder.pretrained = str(tmp_path / "missing.caffemodel")

    def no_photographs(*_):
        raise AssertionError("photographs were looked at first")

    monkeypatch.setattr(train, "open_data", no_photographs)
    with pytest.raises(CheckpointError, match=r"missing\.caffemodel: there is no such run"):
        train.train_and_evaluate(config, tmp_path / "run")


def test_only_the_encoders_with_variants_are_given_one():
    config = default.get_config().encoder
    for name in ("alexnet", "vgg_face", "compact"):
        config.name = name
        assert encoder_from_config(config, 7).num_outputs == 7
