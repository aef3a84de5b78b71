"""glTF files with morph targets and animation: read by a parser of ours, and judged by Khronos'."""

import dataclasses
import json
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import mofa_jax
from mofa_jax.export import Animation, MeshError, Morphs, write_glb
from mofa_jax.export.faces import expression_morphs

ROOT = Path(__file__).resolve().parents[1]
_VALIDATE = """
const validator = require("gltf-validator");
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
validator.validateBytes(bytes).then((report) => console.log(JSON.stringify(report)));
"""


def khronos_report(path):
    """What the Khronos validator says of a file; skips the test where it is not installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js, which the Khronos validator runs in, is not here")
    modules = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=True)
    command = ["node", "-e", _VALIDATE, str(path)]
    environment = {
        "NODE_PATH": modules.stdout.strip(),
        "PATH": str(Path(shutil.which("node")).parent),
    }
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if "Cannot find module" in done.stderr:
        pytest.skip("the Khronos validator is not here: npm install -g gltf-validator")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read_glb(path):
    """The JSON tree, and a function that gives an accessor's values."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    tree, body = json.loads(content[20 : 20 + size]), content[28 + size :]

    def values(index):
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert accessor["componentType"] == 5126
        start = view.get("byteOffset", 0)
        return np.frombuffer(body, "<f4", accessor["count"] * width, start).reshape(-1, width)

    return tree, values


@pytest.fixture
def moving():
    """The arguments of `write_glb`: 20 vertices, two targets, three keyframes."""
    rng = np.random.default_rng(0)
    turns = rng.normal(size=(3, 4))
    return {
        "vertices": rng.normal(size=(20, 3)),
        "triangles": rng.permuted(np.tile(np.arange(20), (30, 1)), axis=1)[:, :3],
        "uv": rng.uniform(size=(20, 2)),
        "texture": np.full((16, 16, 3), 90, np.uint8),
        "morphs": Morphs(("smile", "frown"), rng.normal(size=(2, 20, 3)), np.array([0.5, -1.0])),
        "animation": Animation(
            np.array([0.0, 0.04, 0.1]),
            rng.normal(size=(3, 2)),
            turns / np.linalg.norm(turns, axis=1, keepdims=True),
            rng.normal(size=(3, 3)),
        ),
    }


def test_morph_targets_are_named_and_in_meters(tmp_path, moving):
    write_glb(tmp_path / "face.glb", **moving)
    tree, values = read_glb(tmp_path / "face.glb")
    (mesh,) = tree["meshes"]
    assert mesh["extras"]["targetNames"] == ["smile", "frown"] and mesh["weights"] == [0.5, -1.0]
    targets = [values(target["POSITION"]) for target in mesh["primitives"][0]["targets"]]
    np.testing.assert_allclose(targets, 0.1 * moving["morphs"].offsets, atol=1e-6)
    for name in ("POSITION", "TEXCOORD_0", "NORMAL"):
        assert len(values(mesh["primitives"][0]["attributes"][name])) == 20


def test_keyframes_move_the_mesh_and_its_targets(tmp_path, moving):
    write_glb(tmp_path / "face.glb", **moving)
    tree, values = read_glb(tmp_path / "face.glb")
    (clip,) = tree["animations"]
    tracks = {}
    for channel in clip["channels"]:
        sampler, target = clip["samplers"][channel["sampler"]], channel["target"]
        assert "mesh" in tree["nodes"][target["node"]]
        np.testing.assert_allclose(values(sampler["input"])[:, 0], [0.0, 0.04, 0.1])
        tracks[target["path"]] = values(sampler["output"])
    moved = moving["animation"]
    np.testing.assert_allclose(tracks["weights"].reshape(3, 2), moved.weights, atol=1e-6)
    np.testing.assert_allclose(tracks["rotation"], moved.rotations, atol=1e-6)
    np.testing.assert_allclose(tracks["translation"], 0.1 * moved.translations, atol=1e-6)


def test_normals_of_a_sphere_point_away_from_its_middle(tmp_path):
    sphere = trimesh.creation.icosphere(3)
    uv = np.full((len(sphere.vertices), 2), (0.25, 0.75))
    texture = np.full((16, 16, 3), 90, np.uint8)
    write_glb(tmp_path / "ball.glb", sphere.vertices, sphere.faces, uv, texture)
    tree, values = read_glb(tmp_path / "ball.glb")
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    np.testing.assert_allclose(values(attributes["NORMAL"]), sphere.vertices, atol=0.02)
    np.testing.assert_allclose(values(attributes["TEXCOORD_0"])[0], [0.25, 0.25])  # from the top
    read = trimesh.load(tmp_path / "ball.glb").geometry["face"]
    np.testing.assert_array_equal(read.faces, sphere.faces)
    np.testing.assert_allclose(read.vertices, 0.1 * sphere.vertices, atol=1e-6)


@pytest.mark.parametrize("left_out", [(), ("animation",), ("animation", "morphs")])
def test_khronos_finds_no_fault(tmp_path, moving, left_out):
    kept = {name: value for name, value in moving.items() if name not in left_out}
    write_glb(tmp_path / "face.glb", **kept)
    report = khronos_report(tmp_path / "face.glb")
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0, report["issues"]
    assert report["info"]["hasMorphTargets"] == ("morphs" in kept)
    assert report["info"]["animationCount"] == ("animation" in kept)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("morphs", {"offsets": np.zeros((2, 19, 3))}, "morphs.offsets has shape"),
        ("morphs", {"weights": np.zeros(3)}, "morphs.weights has shape"),
        ("animation", {"times": np.array([0.0, np.nan, 1.0])}, "animation.times holds NaN"),
        ("animation", {"weights": np.zeros((3, 1))}, "animation.weights has shape"),
    ],
)
def test_motion_that_does_not_fit_is_refused_by_name(tmp_path, moving, part, changes, message):
    moving[part] = dataclasses.replace(moving[part], **changes)
    with pytest.raises(MeshError, match=message):
        write_glb(tmp_path / "face.glb", **moving)
    assert not list(tmp_path.iterdir())


def test_many_threads_write_at_once_and_warn_of_nothing(tmp_path, moving):
    """Warnings are errors here."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_glb(tmp_path / f"{i}.glb", **moving), range(100)))
    assert len({(tmp_path / f"{i}.glb").read_bytes() for i in range(100)}) == 1


def test_targets_add_up_to_the_models_face(tiny_model):
    rng = np.random.default_rng(1)
    params = mofa_jax.FaceParams.neutral(tiny_model)
    params = params.replace(
        shape=jnp.asarray(rng.normal(size=5)), expression=jnp.asarray(rng.normal(size=4))
    )
    vertices, morphs = expression_morphs(params, tiny_model)
    assert morphs.names == tuple(f"expression_0{k}" for k in (1, 2, 3, 4))
    moved = np.asarray(vertices, float) + np.tensordot(morphs.weights, morphs.offsets, 1)
    expected = (
        np.asarray(tiny_model.mean_shape, float)
        + np.asarray(tiny_model.shape_basis, float) @ params.shape
        + np.asarray(tiny_model.expression_basis, float) @ params.expression
    )
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_a_face_without_expressions_moves_by_its_pose_alone(tmp_path, moving):
    moving["morphs"] = Morphs((), np.zeros((0, len(moving["vertices"]), 3)), np.zeros(0))
    still = dataclasses.replace(moving["animation"], weights=np.zeros((3, 0)))
    write_glb(tmp_path / "face.glb", **{**moving, "animation": still})
    tree, _ = read_glb(tmp_path / "face.glb")
    channels = tree["animations"][0]["channels"]
    assert [channel["target"]["path"] for channel in channels] == ["rotation", "translation"]
    assert "targets" not in tree["meshes"][0]["primitives"][0]
    report = khronos_report(tmp_path / "face.glb")
    assert report["issues"]["numErrors"] == 0, report["issues"]


@pytest.mark.slow  # compiles the encoder and the picture
def test_the_command_writes_an_animatable_textured_face(tmp_path):
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--output={tmp_path}", "astronaut"]
    subprocess.run(command, cwd=ROOT, check=True)
    tree, _ = read_glb(tmp_path / "astronaut.0.glb")
    names = tree["meshes"][0]["extras"]["targetNames"]
    assert len(names) == len(tree["meshes"][0]["primitives"][0]["targets"]) == 16
    mesh = trimesh.load(tmp_path / "astronaut.0.glb", force="mesh", process=False)
    assert len(mesh.vertices) == 25_539 and mesh.visual.material.baseColorTexture.size == (512, 512)
    report = khronos_report(tmp_path / "astronaut.0.glb")
    assert report["issues"]["numErrors"] == 0, report["issues"]
