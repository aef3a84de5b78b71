"""The importers on files in the published formats with random weights, against PyTorch networks."""

import io
import pickle
import zipfile
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from mofa_jax.encoders import make_encoder
from mofa_jax.encoders.pretrained import PretrainedWeightsError, load_pretrained
from mofa_jax.encoders.pretrained.caffemodel import read_caffemodel
from mofa_jax.encoders.pretrained.torch_file import read_state_dict

torch = pytest.importorskip("torch")

VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG_MEAN = (129.1863, 104.7624, 93.5940)
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
SLIM = 1 / 32


# The published networks in PyTorch: layers by Caffe's names, up to fc8.


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


def _torch_input(images, size, mean, std=(1.0, 1.0, 1.0), bgr=False):
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = torch.nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True)
    x = (255.0 * x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    return x.flip(1) if bgr else x


def _arrays(net):
    """{layer: [weight, bias]} of a network with named layers."""
    modules = [(name, module) for name, module in net.named_children() if hasattr(module, "weight")]
    return {name: [m.weight.detach().numpy(), m.bias.detach().numpy()] for name, m in modules}


def _images():
    return np.random.default_rng(1).random((2, 240, 240, 3), np.float32)


def _zero_params(encoder):
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 240, 240, 3)))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes["params"])


def _fc7(encoder, params, images):
    """The encoder's activations of fc7, in front of the ReLU."""

    def run(params, images):
        keep = {"capture_intermediates": lambda module, _: module.name == "fc7"}
        _, state = encoder.apply({"params": params}, images, mutable=["intermediates"], **keep)
        return state["intermediates"]["fc7"]["__call__"][0]

    return jax.jit(run)(params, images)


def _assert_equal_activations(path, encoder, expected, **options):
    params = load_pretrained(path, encoder, _zero_params(encoder), **options)
    actual, expected = _fc7(encoder, params, _images()), expected.detach().numpy()
    assert actual.shape == expected.shape
    assert np.std(expected) > 1.0
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()


def _assert_refused(path, encoder, *words):
    with pytest.raises(PretrainedWeightsError) as error:
        load_pretrained(path, encoder, _zero_params(encoder))
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message


# Caffe models, written by Google's Protocol Buffers from the fields of caffe.proto.


def _caffe_messages(packed):
    """NetParameter's class, with the fields that weights need."""
    protobuf = pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    del protobuf
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"caffe{packed}.proto", package="caffe")
    messages = {
        "BlobShape": [("dim", 1, kind.TYPE_INT64, True)],
        "BlobProto": [
            *[("num", 1, kind.TYPE_INT32, False), ("channels", 2, kind.TYPE_INT32, False)],
            *[("height", 3, kind.TYPE_INT32, False), ("width", 4, kind.TYPE_INT32, False)],
            *[("data", 5, kind.TYPE_FLOAT, True), ("double_data", 8, kind.TYPE_DOUBLE, True)],
            ("shape", 7, "BlobShape", False),
        ],
        "LayerParameter": [
            *[("name", 1, kind.TYPE_STRING, False), ("type", 2, kind.TYPE_STRING, False)],
            *[("loss_weight", 5, kind.TYPE_FLOAT, True), ("blobs", 7, "BlobProto", True)],
        ],
        "V0LayerParameter": [("name", 1, kind.TYPE_STRING, False)],
        "V1LayerParameter": [
            *[("layer", 1, "V0LayerParameter", False), ("bottom", 2, kind.TYPE_STRING, True)],
            *[("name", 4, kind.TYPE_STRING, False), ("type", 5, kind.TYPE_INT32, False)],
            *[("blobs", 6, "BlobProto", True), ("blobs_lr", 7, kind.TYPE_FLOAT, True)],
        ],
        "NetParameter": [
            *[("name", 1, kind.TYPE_STRING, False), ("layers", 2, "V1LayerParameter", True)],
            *[("input_dim", 4, kind.TYPE_INT32, True), ("layer", 100, "LayerParameter", True)],
        ],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, type_, repeated in fields:
            label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            entry = message.field.add(name=field, number=number, label=label)
            if isinstance(type_, str):
                entry.type, entry.type_name = kind.TYPE_MESSAGE, f".caffe.{type_}"
            else:
                entry.type = type_
            if repeated and type_ in (kind.TYPE_FLOAT, kind.TYPE_DOUBLE, kind.TYPE_INT64):
                entry.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def _write_caffemodel(path, layers, name, v1=False, packed=True, double=False):
    net = _caffe_messages(packed)(name=name, input_dim=[10, 3, 227, 227])
    for layer_name, blobs in {"data": [], **layers, "prob": []}.items():
        layer = (net.layers if v1 else net.layer).add(name=layer_name)
        if not v1:
            layer.type = "Convolution"
            layer.loss_weight.extend([1.0, 2.0])
        for array in blobs:
            blob = layer.blobs.add()
            if v1:
                shape = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(array.shape)
            (blob.double_data if double else blob.data).extend(array.ravel().tolist())
    path.write_bytes(net.SerializeToString())
    return path


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
    model = read_caffemodel(_write_caffemodel(tmp_path / "net.caffemodel", layers, "Net", **form))
    assert model.name == "Net"
    assert model.blobs.keys() == layers.keys()
    for name, arrays in layers.items():
        for actual, expected in zip(model.blobs[name], arrays, strict=True):
            np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize("v1", [False, True])
def test_bvlc_alexnets_activations_equal_pytorchs(tmp_path, v1):
    net = caffe_alexnet()
    path = _write_caffemodel(tmp_path / "bvlc_alexnet.caffemodel", _arrays(net), "AlexNet", v1)
    expected = net[:-2](_torch_input(_images(), 227, CAFFE_MEAN, bgr=True))
    _assert_equal_activations(path, make_encoder("alexnet", 257, width=SLIM), expected)


def test_vgg_face_activations_from_caffe_equal_pytorchs(tmp_path):
    net = vgg_face()
    path = tmp_path / "VGG_FACE.caffemodel"
    _write_caffemodel(path, _arrays(net), "VGG_FACE_16_layers", v1=True)
    expected = net[:-2](_torch_input(_images(), 224, VGG_MEAN, bgr=True))
    _assert_equal_activations(path, make_encoder("vgg_face", 257, width=SLIM), expected)


# PyTorch files, written by torch.save in both of its forms.


def _torchvision_fc7(net):
    std = tuple(255 * s for s in (0.229, 0.224, 0.225))
    x = _torch_input(_images(), 224, tuple(255 * m for m in (0.485, 0.456, 0.406)), std)
    return net.classifier[:5](net.features(x).flatten(1))


@pytest.mark.parametrize("as_zip", [True, False])
def test_torchvision_alexnets_activations_equal_pytorchs(tmp_path, as_zip):
    net, path = torchvision_alexnet(), tmp_path / "alexnet-owt.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=as_zip)
    encoder = make_encoder("alexnet", 257, width=SLIM, variant="torchvision")
    _assert_equal_activations(path, encoder, _torchvision_fc7(net))


def _vgg_keys(net, convs, dense):
    """The network's state dict with other names of the layers, as ports of VGG-Face have them."""
    state = OrderedDict()
    for key, tensor in net.state_dict().items():
        layer, part = key.split(".")
        name = convs(*layer[4:].split("_")) if layer.startswith("conv") else dense(layer)
        state[f"{name}.{part}"] = tensor
    return state


SEQUENTIAL = {
    name: index
    for name, index in zip(
        [f"{block}_{i}" for block, (_, n) in enumerate(VGG_BLOCKS, 1) for i in range(1, n + 1)],
        [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
        strict=True,
    )
}
PORTS = {
    "torch7": (lambda b, i: f"conv_{b}_{i}", lambda fc: fc, True),
    "torch7 in folders": (lambda b, i: f"features.conv_{b}_{i}", lambda fc: f"fc.{fc}", True),
    "data parallel": (lambda b, i: f"module.conv_{b}_{i}", lambda fc: f"module.{fc}", True),
    "matconvnet": (lambda b, i: f"conv{b}_{i}", lambda fc: fc, False),
    "sequential": (
        lambda b, i: f"features.{SEQUENTIAL[f'{b}_{i}']}",
        lambda fc: f"classifier.{ {'fc6': 0, 'fc7': 3, 'fc8': 6}[fc] }",
        False,
    ),
}


@pytest.fixture(scope="module")
def vgg_reference():
    """A VGG-Face with random weights, and its fc7 activations by its channels' order."""
    net = vgg_face()
    inputs = {bgr: _torch_input(_images(), 224, VGG_MEAN, bgr=bgr) for bgr in (False, True)}
    return net, {bgr: net[:-2](x).detach() for bgr, x in inputs.items()}


@pytest.mark.parametrize("port", PORTS)
def test_vgg_face_activations_from_pytorch_ports_equal_pytorchs(tmp_path, vgg_reference, port):
    (net, expected), (convs, dense, bgr) = vgg_reference, PORTS[port]
    torch.save(_vgg_keys(net, convs, dense), tmp_path / "vgg_face.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    _assert_equal_activations(tmp_path / "vgg_face.pth", encoder, expected[bgr])


def test_the_channel_order_can_be_stated(tmp_path, vgg_reference):
    net, expected = vgg_reference
    torch.save(net.state_dict(), tmp_path / "vgg_face.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    options = {"channel_order": "bgr"}
    _assert_equal_activations(tmp_path / "vgg_face.pth", encoder, expected[True], **options)
    with pytest.raises(ValueError, match='channel_order is "gbr"; choose "rgb" or "bgr"'):
        load_pretrained(tmp_path / "vgg_face.pth", encoder, _zero_params(encoder), "gbr")


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


def _matlab_layers(net, older=False):
    layers = []
    for name, arrays in _arrays(net).items():
        weight, bias = arrays
        kernel = weight.reshape(len(weight), -1, 7, 7) if name == "fc6" else weight
        kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim)).transpose(2, 3, 1, 0)
        cell = np.empty((1, 2), object)
        cell[0, 0], cell[0, 1] = kernel, bias.reshape(1, -1)
        fields = {"filters": kernel, "biases": bias} if older else {"weights": cell}
        layers.append({"type": "conv", "name": name, "stride": 1.0, **fields})
        layers.append({"type": "relu", "name": f"relu_{name}"})
    return layers


def _cell(items):
    cell = np.empty((1, len(items)), object)
    cell[0, :] = items
    return cell


def _struct_array(items):
    fields = list(dict.fromkeys(key for item in items for key in item))
    array = np.empty((1, len(items)), [(field, object) for field in fields])
    for i, item in enumerate(items):
        array[0, i] = tuple(item.get(field, np.zeros((0, 0))) for field in fields)
    return array


MATLAB_FORMS = {
    "vgg-face.mat of MatConvNet": lambda net: {"layers": _cell(_matlab_layers(net)), "meta": {}},
    "vgg_face.mat of the authors": lambda net: {
        "net": {"layers": _cell(_matlab_layers(net, older=True)), "classes": {}}
    },
    "struct array": lambda net: {"layers": _struct_array(_matlab_layers(net))},
}


@pytest.mark.parametrize("form", MATLAB_FORMS)
def test_vgg_face_activations_from_matconvnet_equal_pytorchs(tmp_path, vgg_reference, form):
    net, expected = vgg_reference
    path = tmp_path / "vgg-face.mat"
    scipy.io.savemat(path, MATLAB_FORMS[form](net), do_compression=True)
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    _assert_equal_activations(path, encoder, expected[False])


# What every importer leaves alone.


def test_the_last_layer_and_the_given_parameters_stay_as_they_are(tmp_path):
    net, encoder = caffe_alexnet(), make_encoder("alexnet", 257, width=SLIM)
    path = _write_caffemodel(tmp_path / "a.caffemodel", _arrays(net), "AlexNet")
    params = _zero_params(encoder)
    params["code"]["kernel"] += 3.0
    loaded = load_pretrained(path, encoder, params)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert all(np.all(leaf == 3.0) for leaf in [loaded["code"]["kernel"]])
    assert not params["fc6"]["kernel"].any()
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, loaded, params)
    assert jax.tree.all(same)


# Files that cannot be used.


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
        _write_caffemodel(path, _arrays(caffe_alexnet()), "AlexNet")
    elif kind == "mat":
        name, fields = "vgg_face", {}
        scipy.io.savemat(path, MATLAB_FORMS["vgg-face.mat of MatConvNet"](vgg_face()))
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
    _assert_refused(path, torch_alexnet, "builtins.exec", "torch.save(model.state_dict(), path)")
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
    arrays = _arrays(caffe_alexnet())
    del arrays["conv3"]
    path = _write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "conv3", "conv1, conv2, conv4, conv5, fc6, fc7, fc8")


def test_another_shape_is_refused_with_both_shapes(tmp_path, alexnet):
    arrays = _arrays(caffe_alexnet(width=2 * SLIM))
    path = _write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "choose the encoder that the file belongs to")
    arrays = _arrays(caffe_alexnet())
    arrays["conv2"][0] = np.repeat(arrays["conv2"][0], 2, axis=1)
    path = _write_caffemodel(tmp_path / "b.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "conv2 of shape (8, 1, 5, 5)", "shape (8, 2, 5, 5)")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, alexnet, value):
    arrays = _arrays(caffe_alexnet())
    arrays["fc7"][0][3, 5] = value
    path = _write_caffemodel(tmp_path / "a.caffemodel", arrays, "AlexNet")
    _assert_refused(path, alexnet, "fc7's weights", "1 NaNs or infinities")


def test_networks_with_the_same_layers_but_another_meaning_are_refused(tmp_path, alexnet):
    path = _write_caffemodel(tmp_path / "a.caffemodel", _arrays(caffe_alexnet()), "CaffeNet")
    _assert_refused(path, alexnet, "CaffeNet", "bvlc_alexnet.caffemodel")
    torch.save(vgg_face(classes=1000).state_dict(), tmp_path / "vgg16.pth")
    encoder = make_encoder("vgg_face", 257, width=SLIM)
    _assert_refused(tmp_path / "vgg16.pth", encoder, "ImageNet", "VGG-Face")


def test_a_file_for_another_encoder_is_refused(tmp_path, alexnet, torch_alexnet):
    torch.save(torchvision_alexnet().state_dict(), tmp_path / "a.pth")
    _assert_refused(tmp_path / "a.pth", alexnet, 'variant "caffe"', "a PyTorch file")
    path = _write_caffemodel(tmp_path / "a.caffemodel", _arrays(vgg_face()), "VGG_FACE_16_layers")
    _assert_refused(path, alexnet, "conv1_1")
    _assert_refused(path, torch_alexnet, "a Caffe file", "alexnet-owt")
    torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    _assert_refused(tmp_path / "resnet.pth", torch_alexnet, "none of its layers")


def test_a_caffe_model_of_the_oldest_form_is_refused(tmp_path, alexnet):
    net = _caffe_messages(packed=True)(name="CaffeNet")
    net.layers.add().layer.name = "conv1"
    (tmp_path / "v0.caffemodel").write_bytes(net.SerializeToString())
    _assert_refused(tmp_path / "v0.caffemodel", alexnet, "the V0 form", "upgrade_net_proto_binary")


def test_an_encoder_without_published_weights_is_refused(tmp_path):
    from flax import linen as nn

    with pytest.raises(PretrainedWeightsError, match="AlexNet and VGGFace, but not for Dense"):
        load_pretrained(tmp_path / "a.pth", nn.Dense(3), {})


# The networks in their full size.


@pytest.mark.slow
def test_the_whole_bvlc_alexnets_activations_equal_pytorchs(tmp_path):
    net = caffe_alexnet(width=1.0)
    path = _write_caffemodel(tmp_path / "bvlc_alexnet.caffemodel", _arrays(net), "AlexNet", v1=True)
    expected = net[:-2](_torch_input(_images(), 227, CAFFE_MEAN, bgr=True))
    _assert_equal_activations(path, make_encoder("alexnet", 257), expected)
    path.unlink()


@pytest.mark.slow
def test_the_whole_torchvision_alexnets_activations_equal_pytorchs(tmp_path):
    net, path = torchvision_alexnet(width=1.0), tmp_path / "alexnet-owt.pth"
    torch.save(net.state_dict(), path)
    encoder = make_encoder("alexnet", 257, variant="torchvision")
    _assert_equal_activations(path, encoder, _torchvision_fc7(net))
    path.unlink()


@pytest.mark.slow
def test_the_whole_vgg_faces_activations_equal_pytorchs(tmp_path):
    net, path = vgg_face(width=1.0), tmp_path / "vgg_face.pth"
    torch.save(_vgg_keys(net, *PORTS["torch7"][:2]), path)
    expected = net[:-2](_torch_input(_images(), 224, VGG_MEAN, bgr=True))
    _assert_equal_activations(path, make_encoder("vgg_face", 257), expected)
    path.unlink()
