"""Weight files in the published formats: Caffe's, PyTorch's, MatConvNet's; no PyTorch."""

import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from mofa_jax.encoders.vgg_face import BLOCKS as VGG_BLOCKS

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
message_factory = pytest.importorskip("google.protobuf.message_factory")


def net_parameter(packed):
    """NetParameter's class, with the fields that weights need."""
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


def write_caffemodel(path, layers, name, v1=False, packed=True, double=False):
    """Writes {layer: blobs} between layers without weights, in one of Caffe's forms."""
    net = net_parameter(packed)(name=name, input_dim=[10, 3, 227, 227])
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
            values = blob.double_data if double else blob.data
            for part in np.array_split(array.ravel(), 1 + array.size // 100_000):
                values.extend(part.tolist())
    path.write_bytes(net.SerializeToString())
    return path


def port_of(net, convs, dense):
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
PORTS = {  # name: names of convolutions and of dense layers, whether the input is BGR
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


def write_state_dict(path, state):
    """Writes {name: float32 array} as torch.save does: a zip, one entry a storage."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def integers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    pickled = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    with zipfile.ZipFile(path, "w") as archive:
        for key, (name, array) in enumerate(state.items()):
            array = np.ascontiguousarray(array, "<f4")
            archive.writestr(f"archive/data/{key}", array.tobytes())
            storage = text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
            storage = b"(" + storage + b"J" + struct.pack("<i", array.size) + b"tQ"
            strides = [stride // array.itemsize for stride in array.strides]
            view = b"K\x00" + integers(array.shape) + integers(strides)
            hooks = b"\x89ccollections\nOrderedDict\n)R"
            rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + hooks + b"tR"
            pickled.append(text(name) + rebuilt)
        archive.writestr("archive/data.pkl", b"".join(pickled) + b"u.")
        archive.writestr("archive/version", "3\n")
    return path


def _matlab_layers(arrays_of_layers, older=False):
    """MatConvNet's structs of convolutions [H, W, I, O]; `older` as before its 1.0-beta10."""
    layers = []
    for name, arrays in arrays_of_layers.items():
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
    "vgg-face.mat of MatConvNet": lambda arrays: {
        "layers": _cell(_matlab_layers(arrays)),
        "meta": {},
    },
    "vgg_face.mat of the authors": lambda arrays: {
        "net": {"layers": _cell(_matlab_layers(arrays, older=True)), "classes": {}}
    },
    "struct array": lambda arrays: {"layers": _struct_array(_matlab_layers(arrays))},
}
