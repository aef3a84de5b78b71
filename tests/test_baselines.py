"""Learned decoders (the paper's Fig. 13 and 14): networks, training by the front door, refusals."""

import subprocess
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mofa_jax
from configs import cae, compact, learned_decoder
from mofa_jax.baselines.convolutional_decoder import ConvolutionalDecoder, deconvolve
from mofa_jax.baselines.pixels import pixel_error
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import CheckpointError, Checkpoints, on_first_device
from mofa_jax.encoders import make_encoder
from mofa_jax.errors import InputError
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.params import code_size
from mofa_jax.train import run_experiment
from mofa_jax.training.learner import make_learner

ROOT = Path(__file__).resolve().parents[1]
SIZE = 48  # of the crops, px


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of pictures with landmarks."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    names = [f"face_{i:02d}.png" for i in range(12)]
    for name in names:
        image = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (SIZE, SIZE))
        cv2.imwrite(str(folder / name), image)
    points = rng.uniform(0.2 * SIZE, 0.8 * SIZE, (12, 68, 2))
    np.savez(folder / "landmarks.npz", files=names, landmarks=points)
    return folder


def small(config, model_file, photographs):
    """A config with tiny faces and two steps; so has the experiment that it starts from."""
    for each in (config, config.start):
        if not each:
            continue
        each.face_model, each.camera.image_size, each.data.num_eval = str(model_file), SIZE, 4
        each.batch_size, each.num_steps, each.eval_every, each.image_every = 4, 2, 2, 2
        each.optimizer.warmup_steps = 0
    config.data.path = str(photographs)
    config.data.crop, config.data.eval_fraction = "landmarks", 0.3
    return config


def weights_of(workdir, learner):
    """What a run has learned: the newest checkpoint's."""
    with Checkpoints.existing(workdir) as run:
        target = {"weights": on_first_device(learner.random_weights())}
        return run.load_part(run.latest_step, target)["weights"]


def learner_of(config, model):
    return make_learner(config, model, make_camera(config.camera))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def kernels(network, example):
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    return {name: layer["kernel"].shape for name, layer in shapes.items()}


def test_the_layers_are_the_papers():
    encoder = make_encoder("convolutional", 257)
    assert list(kernels(encoder, jnp.zeros((1, 240, 240, 3))).items()) == [
        ("code", (4 * 4 * 256, 257)),
        ("conv1", (3, 3, 3, 64)),
        ("conv2", (3, 3, 64, 96)),
        ("conv3", (3, 3, 96, 128)),
        ("conv4", (3, 3, 128, 256)),
    ]
    decoder = ConvolutionalDecoder((240, 240))
    assert list(kernels(decoder, jnp.zeros((1, 257))).items()) == [
        ("deconv1", (4, 4, 256, 128)),
        ("deconv2", (4, 4, 128, 96)),
        ("deconv3", (4, 4, 96, 64)),
        ("deconv4", (4, 4, 64, 3)),
        ("dense", (257, 4 * 4 * 256)),
    ]
    drawn = jax.eval_shape(
        lambda key, codes: decoder.init_with_output(key, codes)[0],
        jax.random.key(0),
        jnp.zeros((2, 257)),
    )
    assert drawn.shape == (2, 240, 240, 3)


def test_deconvolution_spreads_each_input_pixel_over_four_by_four():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(4, 4, 4, 3))
    expected = np.zeros((2, 6 + 2, 10 + 2, 3))  # with a border of one pixel
    for i in range(3):
        for j in range(5):
            patch = np.einsum("bi,klio->bklo", x[:, i, j], kernel)
            expected[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch
    actual = deconvolve(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(actual, expected[:, 1:-1, 1:-1], atol=1e-5)


def test_pixel_error_is_the_mean_distance_of_colors_and_has_a_gradient_at_zero():
    rng = np.random.default_rng(0)
    drawn, images = rng.random((2, 2, 5, 6, 3))
    expected = np.sqrt(((drawn - images) ** 2).sum(axis=-1)).mean(axis=(1, 2))
    drawn, images = jnp.asarray(drawn, jnp.float32), jnp.asarray(images, jnp.float32)
    np.testing.assert_allclose(pixel_error(drawn, images), expected, rtol=1e-5)
    gradient = jax.grad(lambda drawn: pixel_error(drawn, images).sum())
    assert np.isfinite(gradient(drawn)).all() and not gradient(images).any()


@pytest.mark.slow
def test_every_weight_is_reached_by_a_finite_gradient(model_file, photographs, tiny_model):
    learner = learner_of(small(cae.get_config(), model_file, photographs), tiny_model)
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)}
    gradient = jax.jit(jax.grad(lambda w: learner.objective(w, batch, 0, None, None)[0]))
    weights = learner.initial_weights()
    assert gradient(weights)["encoder"]["params"]["code"]["kernel"].any()  # leaves the zero code
    weights["encoder"]["params"]["code"]["kernel"] += 0.01
    for leaf in leaves(gradient(weights)):
        assert np.isfinite(leaf).all() and leaf.any()


@pytest.mark.slow
def test_an_autoencoder_is_trained_resumed_and_refused_where_codes_must_mean_something(
    model_file, photographs, tmp_path
):
    config = small(cae.get_config(), model_file, photographs)
    errors = run_experiment(config, tmp_path)
    assert errors.keys() == {"pixel_error", "num_faces", "num_failed"}
    assert errors["num_failed"] == 0 and 0 < errors["pixel_error"] < 1
    picture = cv2.imread(str(tmp_path / "pictures" / "eval-0000002.jpg"))
    assert picture.shape[1] == 2 * SIZE  # input and output
    config.num_steps = 4
    run_experiment(config, tmp_path)
    assert [*logged_evaluations(tmp_path)["pixel_error"]] == [0, 2, 4]

    with pytest.raises(CheckpointError, match="no encoder of semantic codes"):
        mofa_jax.load_for_inference(tmp_path)
    started = small(compact.get_config(), model_file, photographs)
    started.encoder.pretrained = str(tmp_path)
    with pytest.raises(CheckpointError, match="no encoder of semantic codes"):
        run_experiment(started, tmp_path / "started")
    for arguments in (["evaluate"], ["reconstruct", "--output=out", "astronaut"]):
        command = [sys.executable, "-m", f"mofa_jax.{arguments[0]}", f"--workdir={tmp_path}"]
        ended = subprocess.run(
            [*command, *arguments[1:]], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert ended.returncode == 1
        (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
        assert str(tmp_path) in sentence and "no encoder of semantic codes" in sentence


@pytest.mark.slow
def test_an_encoder_is_trained_through_a_decoder_that_stays_as_it_was(
    model_file, photographs, tiny_model, tmp_path
):
    config = small(learned_decoder.get_config(), model_file, photographs)
    config.encoder.widths, config.encoder.num_hidden = (8, 8, 16, 16, 16), 32
    run_experiment(config, tmp_path)
    decoder = learner_of(config.start, tiny_model)
    learned = weights_of(tmp_path / "start", decoder)
    untrained = leaves(decoder.random_weights())
    assert all((a != b).any() for a, b in zip(leaves(learned), untrained, strict=True))

    config.num_steps = 4
    errors = run_experiment(config, tmp_path)  # goes on, with the same decoder
    for a, b in zip(leaves(learned), leaves(weights_of(tmp_path / "start", decoder)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {"pixel_error", "photometric_error", "landmark_error"} < errors.keys()
    assert errors["num_failed"] == 0

    config.decoder.pretrained = str(tmp_path / "start")
    learner = learner_of(config, tiny_model)
    for a, b in zip(leaves(learned), leaves(learner.decoder.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(leaf.any() for leaf in leaves(weights_of(tmp_path, learner)["params"]["code"]))
    picture = cv2.imread(str(tmp_path / "pictures" / "eval-0000004.jpg"))
    assert picture.shape[1] == 6 * SIZE  # the five panels and the learned decoder's picture

    predict = mofa_jax.load_for_inference(tmp_path)
    params = predict(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    assert params.to_code().shape == (1, code_size(tiny_model))


def test_what_cannot_be_trained_is_refused_in_a_sentence(
    model_file, photographs, tiny_model, tmp_path
):
    config = small(learned_decoder.get_config(), model_file, photographs)
    with pytest.raises(InputError, match=r"decoder\.pretrained is empty"):
        learner_of(config, tiny_model)
    other = {"config": compact.get_config().to_dict(), "face_model": tiny_model.identity()}
    with Checkpoints(tmp_path, 1) as run:
        run.save(1, {"weights": jnp.zeros(3)}, other)
    config.decoder.pretrained = str(tmp_path)
    with pytest.raises(InputError, match=r"this run's decoder\.name is face_model"):
        learner_of(config, tiny_model)
    config.decoder.name = "convolutional_from_codes"
    with pytest.raises(InputError, match=r"set data\.kind to synthetic"):
        learner_of(config, tiny_model)
    config.data.kind, config.data.augmentation.flip = "synthetic", 0.5
    with pytest.raises(InputError, match=r"set all of data\.augmentation to 0"):
        learner_of(config, tiny_model)
    config.decoder.name = "deconvolutional"
    with pytest.raises(InputError, match="choose one of face_model, convolutional,"):
        learner_of(config, tiny_model)
