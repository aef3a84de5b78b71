"""Textures from photographs, against the photograph's own colors at the projected vertices."""

import io
import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import mofa_jax
from mofa_jax.export import write_glb
from mofa_jax.renderer import compiled_render
from mofa_jax.texture import TextureError, photograph_texture

AFFINE = np.array([[1.5, 0.0, 40.0], [0.0, 1.5, 25.0]])  # crop -> photograph
SIZE = 256


def photograph():
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:420, :440] + 0.5
    return np.stack([x / 440, y / 420, np.full_like(x, 0.5)], -1)


def turned(model):
    return mofa_jax.FaceParams.neutral(model).replace(rotation=jnp.array([0.0, 0.5, 0.0]))


def textured(model, columns_before=0):
    """The turned face's texture, of the photograph with so many black columns before it."""
    picture = np.rint(255 * photograph()).astype(np.uint8)
    picture = np.pad(picture, ((0, 0), (columns_before, 0), (0, 0)))
    place = np.add(AFFINE, [[0, 0, columns_before], [0, 0, 0]])
    return photograph_texture(picture, place, turned(model), model, mofa_jax.Camera(), SIZE)


@pytest.fixture(scope="module")
def face():
    model = mofa_jax.load_face_model("open")
    rendering = compiled_render(turned(model), model, mofa_jax.Camera())
    return model, rendering, textured(model) / 255


def cosines(rendering):
    vertices = np.asarray(rendering.vertices)
    view = -vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    return (np.asarray(rendering.normals) * view).sum(axis=1)


def at_vertices(texture, model):
    column, row = (np.asarray(model.uv) * [1, -1] + [0, 1]).T * SIZE
    return texture[row.astype(int).clip(0, SIZE - 1), column.astype(int).clip(0, SIZE - 1)]


def test_what_is_seen_has_the_photographs_colors(face):
    model, rendering, texture = face
    places = np.asarray(rendering.screen) @ AFFINE[:, :2].T + AFFINE[:, 2]
    expected = np.column_stack([places / [440, 420], np.full(len(places), 0.5)])
    seen = cosines(rendering) > 0.8
    difference = np.abs(at_vertices(texture, model) - expected)[seen]
    assert seen.sum() > 1000
    assert np.median(difference) < 0.01 and np.quantile(difference, 0.9) < 0.03


def test_what_is_hidden_has_the_models_colors_in_the_photographs_tone(face):
    model, rendering, texture = face
    hidden = cosines(rendering) < 0
    color = np.asarray(rendering.color)[hidden]
    gain = at_vertices(texture, model)[hidden] / color
    assert hidden.sum() > 500
    spread = np.std(gain, axis=0) / np.median(gain, axis=0)
    assert (spread < 0.2).all()  # one factor for each channel, but for texels between vertices


def test_a_photograph_wider_than_opencv_takes_gives_the_same_texture(face):
    model, _, texture = face
    wide = textured(model, columns_before=33_000) / 255
    np.testing.assert_allclose(wide, texture, atol=0.01)


def test_a_model_without_texture_coordinates_is_refused_in_a_sentence(tiny_model):
    bare = tiny_model.replace(uv=None)
    picture = np.zeros((240, 240, 3), np.uint8)
    with pytest.raises(TextureError, match="--mesh=obj"):
        photograph_texture(
            picture, AFFINE, mofa_jax.FaceParams.neutral(bare), bare, mofa_jax.Camera()
        )


def test_a_glb_holds_the_mesh_in_meters_and_its_texture(tmp_path):
    rng = np.random.default_rng(0)
    vertices, uv = rng.normal(size=(20, 3)), rng.uniform(size=(20, 2))
    triangles = rng.permuted(np.tile(np.arange(20), (30, 1)), axis=1)[:, :3]
    texture = np.zeros((16, 16, 3), np.uint8)
    texture[:8] = [200, 40, 40]
    write_glb(tmp_path / "face.glb", vertices, triangles, uv, texture)
    content = (tmp_path / "face.glb").read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    tree, body = json.loads(content[20 : 20 + size]), content[28 + size :]

    def view(index):
        part = tree["bufferViews"][index]
        start = part.get("byteOffset", 0)
        return body[start : start + part["byteLength"]]

    (primitive,) = tree["meshes"][0]["primitives"]
    names = {"POSITION": 3, "TEXCOORD_0": 2, "NORMAL": 3}
    found = {}
    for name, width in names.items():
        accessor = tree["accessors"][primitive["attributes"][name]]
        assert accessor["componentType"] == 5126
        found[name] = np.frombuffer(view(accessor["bufferView"]), "<f4").reshape(-1, width)
    np.testing.assert_allclose(found["POSITION"], 0.1 * vertices, atol=1e-6)
    np.testing.assert_allclose(found["TEXCOORD_0"], uv * [1, -1] + [0, 1], atol=1e-6)
    indices = tree["accessors"][primitive["indices"]]
    kinds = {5121: "u1", 5123: "<u2", 5125: "<u4"}
    stored = np.frombuffer(view(indices["bufferView"]), kinds[indices["componentType"]])
    np.testing.assert_array_equal(stored.reshape(-1, 3), triangles)
    image = Image.open(io.BytesIO(view(tree["images"][0]["bufferView"])))
    np.testing.assert_allclose(np.asarray(image)[2, 8], [200, 40, 40], atol=12)


@pytest.mark.slow
def test_a_model_of_float64_gets_the_same_texture(float64):
    model = mofa_jax.load_face_model("open", np.float64)
    single = mofa_jax.load_face_model("open", np.float32)
    difference = np.abs(textured(model).astype(float) - textured(single))
    assert difference.mean() < 0.1
