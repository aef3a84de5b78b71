"""Weight files that cannot be used: each is refused with one sentence that names it."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import scipy.io
from flax import linen as nn
from reference_networks import (
    SLIM,
    arrays_of,
    caffe_alexnet,
    torchvision_alexnet,
    vgg_face,
    zero_params,
)
from weight_files import MATLAB_FORMS, net_parameter, write_caffemodel

from mofa_jax.encoders import make_encoder
from mofa_jax.encoders.pretrained import PretrainedWeightsError, load_pretrained

torch = pytest.importorskip("torch")


def _assert_refused(path, encoder, *words):
    with pytest.raises(PretrainedWeightsError) as error:
        load_pretrained(path, encoder, zero_params(encoder))
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.fixture
def alexnet():
    return make_encoder("alexnet", 257, width=SLIM)


@pytest.fixture
def torch_alexnet():
    return make_encoder("alexnet", 257, width=SLIM, variant="torchvision")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b"\x1f\x8b\x08\x00", "a gzip archive; unpack it"),
        (b"\x00" * 257 + b"ustar", "a tar archive; unpack it"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "save(..., '-v7')"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x0d\0\0\0nn.Sequential", "Torch7"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a Caffe model"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, alexnet, content, words):
    (tmp_path / "weights").write_bytes(content)
    _assert_refused(tmp_path / "weights", alexnet, words)


def test_a_missing_file_and_a_folder_are_refused(tmp_path, alexnet):
    _assert_refused(tmp_path / "none.caffemodel", alexnet, "No such file", "check the path")
    _assert_refused(tmp_path, alexnet, "Is a directory", "check the path")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["caffemodel", "zip", "legacy", "mat"])
def test_a_truncated_file_is_refused(tmp_path, kind, part):
    path = tmp_path / f"weights.{kind}"
    name, fields = "alexnet", {"variant": "torchvision"}
    if kind == "caffemodel":
        fields = {}
        write_caffemodel(path, arrays_of(caffe_alexnet()), "AlexNet")
    elif kind == "mat":
        name, fields = "vgg_face", {}
        scipy.io.savemat(path, MATLAB_FORMS["vgg-face.mat of MatConvNet"](arrays_of(vgg_face())))
    else:
        state = torchvision_alexnet().state_dict()
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    _assert_refused(path, make_encoder(name, 257, width=SLIM, **fields))


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, torch_alexnet, as_zip):
    class Attack:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    path = tmp_path / "evil.pth"
    torch.save({"a": torch.zeros(1), "b": Attack()}, path, _use_new_zipfile_serialization=as_zip)
    _assert_refused(path, torch_alexnet, "exec", "torch.save(model.state_dict(), path)")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused(tmp_path, torch_alexnet):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "module.pth")
    _assert_refused(tmp_path / "module.pth", torch_alexnet, "torch.nn.modules.container.Sequential")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path, torch_alexnet):
    """The offset of a valid file is raised, so that the view would reach other memory."""
    buffer = io.BytesIO()
    torch.save({"features.0.weight": torch.zeros(6)[2:]}, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(tmp_path / "beyond.pth", "w") as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert data.count(b"K\x02K\x04\x85") == 1
                data = data.replace(b"K\x02K\x04\x85", b"K\xf0K\x04\x85")
            target.writestr(name, data)
    _assert_refused(tmp_path / "beyond.pth", torch_alexnet, "a tensor beyond its storage")


def test_a_missing_layer_is_refused_by_name(tmp_path, alexnet):
    arrays = arrays_of(caffe_alexnet())
    del arrays["conv3"]
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "conv3", "conv1, conv2, conv4, conv5, fc6, fc7, fc8")


def test_another_shape_is_refused_with_both_shapes(tmp_path, alexnet):
    arrays = arrays_of(caffe_alexnet(width=2 * SLIM))
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "choose the encoder that the file belongs to")
    arrays = arrays_of(caffe_alexnet())
    arrays["conv2"][0] = np.repeat(arrays["conv2"][0], 2, axis=1)
    path = write_caffemodel(tmp_path / "b.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "conv2 of shape (16, 3, 5, 5)", "shape (16, 6, 5, 5)")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, alexnet, value):
    arrays = arrays_of(caffe_alexnet())
    arrays["fc7"][0][3, 5] = value
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "fc7's weights", "1 NaNs or infinities")


def test_networks_with_the_same_layers_but_another_meaning_are_refused(tmp_path, alexnet):
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays_of(caffe_alexnet()), "CaffeNet")
    _assert_refused(path, alexnet, "CaffeNet", "bvlc_alexnet.caffemodel")
    torch.save(vgg_face(classes=1000).state_dict(), tmp_path / "vgg16.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    _assert_refused(tmp_path / "vgg16.pth", encoder, "ImageNet", "VGG-Face")


def test_a_file_for_another_encoder_is_refused(tmp_path, alexnet, torch_alexnet):
    torch.save(torchvision_alexnet().state_dict(), tmp_path / "a.pth")
    _assert_refused(tmp_path / "a.pth", alexnet, 'variant "caffe"', "a PyTorch file")
    path = write_caffemodel(tmp_path / "a.caffemodel", arrays_of(vgg_face()), "VGG_FACE_16_layers")
    _assert_refused(path, alexnet, "conv1_1")
    _assert_refused(path, torch_alexnet, "a Caffe file", "alexnet-owt")
    torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    _assert_refused(tmp_path / "resnet.pth", torch_alexnet, "none of its layers")


def test_a_caffe_model_of_the_oldest_form_is_refused(tmp_path, alexnet):
    net = net_parameter(packed=True)(name="CaffeNet")
    net.layers.add().layer.name = "conv1"
    (tmp_path / "v0.caffemodel").write_bytes(net.SerializeToString())
    _assert_refused(tmp_path / "v0.caffemodel", alexnet, "the V0 form", "upgrade_net_proto_binary")


def test_an_encoder_without_published_weights_is_refused(tmp_path):
    with pytest.raises(PretrainedWeightsError, match="AlexNet and VGGFace, but not for Dense"):
        load_pretrained(tmp_path / "a.pth", nn.Dense(3), {})
