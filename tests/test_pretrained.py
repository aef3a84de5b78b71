"""The importers on files in the published formats with random weights, against PyTorch networks."""

import jax
import numpy as np
import pytest
import scipy.io
from reference_networks import (
    CAFFE_MEAN,
    SLIM,
    VGG_MEAN,
    arrays_of,
    assert_equal_activations,
    caffe_alexnet,
    crops,
    torch_input,
    torchvision_alexnet,
    vgg_face,
    zero_params,
)
from weight_files import MATLAB_FORMS, PORTS, port_of, write_caffemodel

from mofa_jax.encoders import make_encoder
from mofa_jax.encoders.pretrained import load_pretrained
from mofa_jax.encoders.pretrained.caffemodel import read_caffemodel
from mofa_jax.encoders.pretrained.torch_file import read_state_dict

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"v1": True},
        {"packed": False},
        {"v1": True, "packed": False},
        {"double": True},
        {"double": True, "packed": False},
    ],
)
def test_caffe_models_are_read_in_every_form(tmp_path, form):
    rng = np.random.default_rng(0)
    layers = {
        "conv1": [rng.normal(size=(4, 3, 5, 5)), rng.normal(size=4)],
        "fc6": [rng.normal(size=(7, 300)), rng.normal(size=7)],
    }
    layers = {name: [a.astype(np.float32) for a in arrays] for name, arrays in layers.items()}
    model = read_caffemodel(write_caffemodel(tmp_path / "net.caffemodel", layers, "Net", **form))
    assert model.name == "Net"
    assert model.blobs.keys() == layers.keys()
    for name, arrays in layers.items():
        for actual, expected in zip(model.blobs[name], arrays, strict=True):
            np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize("v1", [False, True])
def test_bvlc_alexnets_activations_equal_pytorchs(tmp_path, v1):
    net = caffe_alexnet()
    path = write_caffemodel(tmp_path / "bvlc_alexnet.caffemodel", arrays_of(net), "AlexNet", v1)
    expected = net[:-2](torch_input(crops(), 227, CAFFE_MEAN, bgr=True))
    assert_equal_activations(path, make_encoder("alexnet", 257, width=SLIM), expected)


def test_vgg_face_activations_from_caffe_equal_pytorchs(tmp_path):
    net = vgg_face()
    path = tmp_path / "VGG_FACE.caffemodel"
    write_caffemodel(path, arrays_of(net), "VGG_FACE_16_layers", v1=True)
    expected = net[:-2](torch_input(crops(), 224, VGG_MEAN, bgr=True))
    assert_equal_activations(path, make_encoder("vgg_face", 257, width=SLIM), expected)


# PyTorch files, written by torch.save in both of its forms.


def _torchvision_fc7(net):
    std = tuple(255 * s for s in (0.229, 0.224, 0.225))
    x = torch_input(crops(), 224, tuple(255 * m for m in (0.485, 0.456, 0.406)), std)
    return net.classifier[:5](net.features(x).flatten(1))


@pytest.mark.parametrize("as_zip", [True, False])
def test_torchvision_alexnets_activations_equal_pytorchs(tmp_path, as_zip):
    net, path = torchvision_alexnet(), tmp_path / "alexnet-owt.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=as_zip)
    encoder = make_encoder("alexnet", 257, width=SLIM, variant="torchvision")
    assert_equal_activations(path, encoder, _torchvision_fc7(net))


@pytest.fixture(scope="module")
def vgg_reference():
    """A VGG-Face with random weights, and its fc7 activations by its channels' order."""
    net = vgg_face()
    inputs = {bgr: torch_input(crops(), 224, VGG_MEAN, bgr=bgr) for bgr in (False, True)}
    return net, {bgr: net[:-2](x).detach() for bgr, x in inputs.items()}


@pytest.mark.parametrize("port", PORTS)
def test_vgg_face_activations_from_pytorch_ports_equal_pytorchs(tmp_path, vgg_reference, port):
    (net, expected), (convs, dense, bgr) = vgg_reference, PORTS[port]
    torch.save(port_of(net, convs, dense), tmp_path / "vgg_face.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    assert_equal_activations(tmp_path / "vgg_face.pth", encoder, expected[bgr])


def test_the_channel_order_can_be_stated(tmp_path, vgg_reference):
    net, expected = vgg_reference
    torch.save(net.state_dict(), tmp_path / "vgg_face.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    options = {"channel_order": "bgr"}
    assert_equal_activations(tmp_path / "vgg_face.pth", encoder, expected[True], **options)
    with pytest.raises(ValueError, match='channel_order is "gbr"; choose "rgb" or "bgr"'):
        load_pretrained(tmp_path / "vgg_face.pth", encoder, zero_params(encoder), "gbr")


@pytest.mark.parametrize("as_zip", [True, False])
def test_tensors_of_every_layout_and_type_are_read_from_pytorch_files(tmp_path, as_zip):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "plain": base,
        "transposed": base.T,
        "slice": base[1:3, 2:],
        "parameter": torch.nn.Parameter(base + 1),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    torch.save(
        {"state_dict": state, "epoch": 3},
        tmp_path / "net.pth",
        _use_new_zipfile_serialization=as_zip,
    )
    arrays = read_state_dict(tmp_path / "net.pth")
    assert arrays.keys() == state.keys()
    for name, tensor in state.items():
        expected = tensor.detach().float().numpy()
        np.testing.assert_array_equal(arrays[name].astype(np.float32), expected)


# MatConvNet files, written by SciPy's savemat.


@pytest.mark.parametrize("form", MATLAB_FORMS)
def test_vgg_face_activations_from_matconvnet_equal_pytorchs(tmp_path, vgg_reference, form):
    net, expected = vgg_reference
    path = tmp_path / "vgg-face.mat"
    scipy.io.savemat(path, MATLAB_FORMS[form](arrays_of(net)), do_compression=True)
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    assert_equal_activations(path, encoder, expected[False])


# What every importer leaves alone.


def test_the_last_layer_and_the_given_parameters_stay_as_they_are(tmp_path):
    net, encoder = caffe_alexnet(), make_encoder("alexnet", 257, width=SLIM)
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays_of(net), "AlexNet")
    params = zero_params(encoder)
    params["code"]["kernel"] += 3.0
    loaded = load_pretrained(path, encoder, params)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert all(np.all(leaf == 3.0) for leaf in [loaded["code"]["kernel"]])
    assert not params["fc6"]["kernel"].any()
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, loaded, params)
    assert jax.tree.all(same)


# The networks in their full size.


@pytest.mark.slow
def test_the_whole_bvlc_alexnets_activations_equal_pytorchs(tmp_path):
    net = caffe_alexnet(width=1.0)
    path = write_caffemodel(
        tmp_path / "bvlc_alexnet.caffemodel", arrays_of(net), "AlexNet", v1=True
    )
    expected = net[:-2](torch_input(crops(), 227, CAFFE_MEAN, bgr=True))
    assert_equal_activations(path, make_encoder("alexnet", 257), expected)
    path.unlink()


@pytest.mark.slow
def test_the_whole_torchvision_alexnets_activations_equal_pytorchs(tmp_path):
    net, path = torchvision_alexnet(width=1.0), tmp_path / "alexnet-owt.pth"
    torch.save(net.state_dict(), path)
    encoder = make_encoder("alexnet", 257, variant="torchvision")
    assert_equal_activations(path, encoder, _torchvision_fc7(net))
    path.unlink()


@pytest.mark.slow
def test_the_whole_vgg_faces_activations_equal_pytorchs(tmp_path):
    net, path = vgg_face(width=1.0), tmp_path / "vgg_face.pth"
    torch.save(port_of(net, *PORTS["torch7"][:2]), path)
    expected = net[:-2](torch_input(crops(), 224, VGG_MEAN, bgr=True))
    assert_equal_activations(path, make_encoder("vgg_face", 257), expected)
    path.unlink()
