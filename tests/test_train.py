"""Training end to end on a tiny model: learning, resuming, several devices, failing."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from PIL import Image

import mofa_jax
import mofa_jax.evaluation.errors as evaluation
from configs import compact
from mofa_jax import train
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import CheckpointError, Checkpoints, on_first_device
from mofa_jax.data.feeds import resident, streamed
from mofa_jax.data.feeds.pipeline import open_data
from mofa_jax.data.synthetic.examples import example_keys, synthetic_batch
from mofa_jax.encoders.layers import code_layer
from mofa_jax.encoders.trained import read_trained
from mofa_jax.errors import InputError
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.face_models.load import load_face_model
from mofa_jax.files.writing import locked
from mofa_jax.params import code_size
from mofa_jax.training import learner
from mofa_jax.training.divergence import TrainingDivergedError, check_divergence
from mofa_jax.training.initial_weights import random_weights
from mofa_jax.training.steps import TrainState, make_train_steps, replicate
from mofa_jax.training.watch import Watch

ROOT = Path(__file__).resolve().parents[1]
SIZE = 120  # of the crops, px
pytestmark = pytest.mark.slow  # each test compiles a train step


@pytest.fixture(autouse=True, scope="module")
def room_for_large_programs():
    """Lets go of the many programs that earlier tests compiled."""
    jax.clear_caches()


def not_stored(steps):
    """Train steps that stay out of JAX's cache of compiled programs: jaxlib has crashed in storing
    one late in a long session."""
    name = "jax_persistent_cache_min_compile_time_secs"

    def run(*arguments):
        before = getattr(jax.config, name)
        jax.config.update(name, 1e9)
        try:
            return steps(*arguments)
        finally:
            jax.config.update(name, before)

    return run


@pytest.fixture(autouse=True, scope="module")
def equal_settings_share_their_programs():
    """Runs are compiled once for each encoder, loss and optimizer, not once for each run."""
    steps, errors = {}, {}

    def make_steps(objective, optimizer):
        encoder, config = objective.__self__.encoder, objective.__self__.config
        schedule = config.num_steps if config.optimizer.schedule == "cosine" else None
        key = (encoder, config.loss.to_json(), config.optimizer.to_json(), schedule)
        return steps.setdefault(key, not_stored(make_train_steps(objective, optimizer)))

    def make_errors_of(encode):
        return errors.setdefault(encode.__self__, evaluation.make_errors_of(encode))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_train_steps", make_steps)
        patch.setattr(learner, "make_errors_of", make_errors_of)
        yield


@pytest.fixture(scope="module")
def crops(tiny_model, tmp_path_factory):
    """A TFDS-free source: crops of synthetic faces in a folder, with landmarks beside them."""
    folder = tmp_path_factory.mktemp("photographs")
    keys = example_keys(0, 0, 16, "train")
    batch = synthetic_batch(keys, tiny_model, mofa_jax.Camera().scaled(SIZE / 240))
    names = [f"face_{i:02d}.png" for i in range(16)]
    for name, image in zip(names, np.asarray(batch["image"]), strict=True):
        cv2.imwrite(str(folder / name), np.round(255 * image[..., ::-1]).astype(np.uint8))
    np.savez(folder / "landmarks.npz", files=names, landmarks=np.asarray(batch["landmarks"]) - 0.5)
    return folder


@pytest.fixture
def config(model_file, crops):
    config = compact.get_config()
    config.face_model, config.data.path = str(model_file), str(crops)
    config.data.crop, config.data.eval_fraction, config.data.num_eval = "landmarks", 0.3, 4
    config.data.augmentation.flip = 0.5
    config.camera.image_size, config.optimizer.schedule = SIZE, "constant"
    config.encoder.widths, config.encoder.num_hidden = [8, 8, 16, 16, 16], 32
    config.batch_size, config.num_steps, config.optimizer.warmup_steps = 4, 6, 0
    config.log_every, config.image_every, config.eval_every = 2, 100, 100
    return config


def losses_of(workdir, tag="train/loss"):
    """Step -> loss, or another tag's value, read from TensorBoard's files."""
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 the format's home

    losses = {}
    for path in Path(workdir).glob("events*"):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.tag == tag:
                    losses[event.step] = value.simple_value
    return losses


def weights_of(workdir):
    """The newest checkpoint's step and the encoder's weights."""
    predict = mofa_jax.load_for_inference(workdir)
    return predict.step, predict.weights


def weights_like(config):
    """The shapes of a `Linear` run's weights."""
    model = mofa_jax.load_face_model(config.face_model)
    cam = make_camera(config.camera)
    return on_first_device(random_weights(Linear(code_size(model)), 0, cam))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_second_training_in_a_workdir_is_refused_and_the_first_goes_on(config, tmp_path):
    refused = pytest.raises(InputError, match=r"run: another process is at work here; wait")
    with locked(tmp_path / "run" / ".lock"), refused:
        train.train_and_evaluate(config, tmp_path / "run")
    assert train.train_and_evaluate(config, tmp_path / "run") is not None


@pytest.mark.parametrize("device_cache", ["off", "on"])
def test_killed_and_resumed_run_ends_with_the_same_weights_and_losses(
    config, tmp_path, device_cache
):
    config.log_every, config.data.device_cache = 1, device_cache
    config.optimizer.schedule = "cosine"
    config.checkpoint_every_minutes = 0.0  # after every step
    script = (
        "import sys, os, json, logging; sys.path.insert(0, sys.argv[1])\n"
        "from ml_collections import ConfigDict\n"
        "from mofa_jax import train\n"
        "from mofa_jax.training import watch\n"
        "config = ConfigDict(json.load(open(sys.argv[2])))\n"
        "scalars = watch.Watch.scalars\n"
        "def kill(self, step, metrics):\n"
        "    scalars(self, step, metrics)\n"
        "    if step == 4: os.kill(os.getpid(), 9)\n"
        "watch.Watch.scalars = kill\n"
        "train.train_and_evaluate(config, sys.argv[3])\n"
    )
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(config.to_dict()))
    arguments = [sys.executable, "-c", script, str(ROOT), str(settings), str(tmp_path / "killed")]
    killed = subprocess.run(arguments, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    train.train_and_evaluate(config, tmp_path / "killed")
    train.train_and_evaluate(config, tmp_path / "whole")
    step, weights = weights_of(tmp_path / "whole")
    assert step == 6
    assert_same(weights_of(tmp_path / "killed")[1], weights)
    whole, resumed = losses_of(tmp_path / "whole"), losses_of(tmp_path / "killed")
    assert set(whole) == set(range(1, 7))
    assert {step: whole[step] for step in resumed} == resumed


class Linear(nn.Module):
    """An encoder without convolutions, which XLA's loops on a CPU take minutes for."""

    num_outputs: int

    @nn.compact
    def __call__(self, images):
        pixels = jax.image.resize(images, (images.shape[0], 6, 6, 3), "bilinear")
        return code_layer(self.num_outputs)(pixels.reshape(images.shape[0], -1))


def test_steps_taken_at_once_end_where_single_steps_do(config, tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "encoder_from_config", lambda _, size: Linear(size))
    monkeypatch.setattr(train, "make_optimizer", lambda *_: optax.sgd(1e-3))
    config.data.device_cache, config.checkpoint_every_minutes = "on", 0.0
    config.log_every, config.image_every, config.eval_every = 3, 6, 6
    seen = []
    for at_once, stops in ((1, [7]), (3, [2, 7])):  # interrupted in the middle of a row
        config.steps_at_once, workdir = at_once, tmp_path / str(at_once)
        for config.num_steps in stops:
            train.train_and_evaluate(config, workdir)
        with Checkpoints(workdir) as checkpoints:
            weights = checkpoints.load_part(7, {"weights": weights_like(config)})["weights"]
        seen.append((weights, losses_of(workdir)))
    (single, losses), (several, others) = seen
    assert losses.keys() == {3, 6, 7} and others.keys() == {2, 3, 6, 7}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), single, several)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(single)) > 1e-3
    for step, loss in losses.items():
        np.testing.assert_allclose(others[step], loss, rtol=1e-5)


def test_sigterm_saves_and_stops(config, tmp_path, monkeypatch):
    config.num_steps = 1000
    update = train.Watch.scalars

    def terminate(self, step, metrics):
        update(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train.Watch, "scalars", terminate)
    assert train.train_and_evaluate(config, tmp_path) is None  # nothing goes on after it
    assert weights_of(tmp_path)[0] in (2, 3)


def test_all_evaluations_of_a_run_are_compiled_once(config, tmp_path, monkeypatch):
    config.eval_every, traced = 2, []
    monkeypatch.setattr(learner, "make_errors_of", evaluation.make_errors_of)
    plain = evaluation.face_errors
    monkeypatch.setattr(evaluation, "face_errors", lambda *a: traced.append(1) or plain(*a))
    train.train_and_evaluate(config, tmp_path)
    assert len(traced) == 1


def test_finished_run_started_again_returns_its_errors(config, tmp_path):
    errors = train.train_and_evaluate(config, tmp_path)
    assert errors["num_failed"] == 0 and errors["photometric_error"] > 0
    assert train.train_and_evaluate(config, tmp_path) == errors


def test_pretrained_file_is_not_wanted_again_on_resuming(config, tmp_path):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    config.num_steps, config.encoder.pretrained = 2, str(tmp_path / "gone.caffemodel")
    train.train_and_evaluate(config, tmp_path)
    assert weights_of(tmp_path)[0] == 2


def test_checkpoint_that_cannot_be_written_is_not_called_saved(
    config, tmp_path, monkeypatch, caplog
):
    config.num_steps = 1000
    update = train.Watch.scalars

    def terminate(self, step, metrics):
        update(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)
        folder = tmp_path / "checkpoints"
        if folder.is_dir():
            folder.rmdir()
            folder.write_text("no folder")

    monkeypatch.setattr(train.Watch, "scalars", terminate)
    with pytest.raises(CheckpointError, match="cannot be written"):
        train.train_and_evaluate(config, tmp_path)
    assert "saved" not in caplog.text


def test_only_the_newest_checkpoints_are_kept(config, tmp_path):
    config.checkpoint_every_minutes, config.keep_checkpoints = 0.0, 2
    train.train_and_evaluate(config, tmp_path)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [5, 6]


def test_training_on_one_batch_lowers_the_loss(config, tmp_path):
    config.num_steps, config.log_every, config.optimizer.learning_rate = 40, 1, 1e-3
    config.batch_size = 8
    train.train_and_evaluate(config, tmp_path)
    losses = losses_of(tmp_path)
    assert np.mean([losses[s] for s in range(36, 41)]) < 0.8 * losses[1]


def test_resolved_config_and_model_checksum_are_written(config, tmp_path, tiny_model):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    config.data.landmarks = str(Path(config.data.path) / "landmarks.npz")  # which it found there
    assert written["config"] == config.to_dict()
    assert written["face_model"]["checksum"] == tiny_model.checksum()


def test_unsupervised_training_reads_no_landmark(config, tmp_path, crops):
    config.loss.landmark, config.num_steps, config.data.augmentation.flip = 0.0, 3, 0.0
    results = []
    for landmarks_known in (True, False):
        feed_next = train.open_data

        def blind(*args, known=landmarks_known, opened=feed_next):
            data = opened(*args)
            batches = data.train

            class Blind:
                num_failed, close = 0, batches.close
                get_state, set_state = batches.get_state, batches.set_state

                def take(self, count):
                    batch = batches.take(count)
                    unknown = {
                        "landmarks": jnp.full_like(batch.arrays["landmarks"], jnp.nan),
                        "confidence": jnp.zeros_like(batch.arrays["confidence"]),
                    }
                    arrays = batch.arrays if known else batch.arrays | unknown
                    return dataclasses.replace(batch, arrays=arrays)

            return type(data)(Blind(), data.make_eval, data.eval_examples, data.summary)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "open_data", blind)
            train.train_and_evaluate(config, tmp_path / str(landmarks_known))
        results.append(weights_of(tmp_path / str(landmarks_known))[1])
    assert_same(*results)


def test_divergence_with_the_device_cache_names_the_batch(config, tmp_path):
    config.data.device_cache, config.max_loss = "on", 1e-4
    with pytest.raises(TrainingDivergedError, match=r"step 1.*face_\d\d.*face_\d\d"):
        train.train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize("poison", ["nan", "explosion"])
def test_divergence_stops_with_step_term_and_names(config, tmp_path, monkeypatch, poison):
    config.checkpoint_every_minutes = 0.0
    if poison == "explosion":
        config.max_loss = 1e-4
    else:
        normal = streamed.shard

        def poisoned(batch, calls=[]):  # noqa: B006 counts the calls
            calls.append(1)
            if len(calls) == 3:
                batch = {**batch, "landmarks": np.full_like(batch["landmarks"], np.inf)}
            return normal(batch)

        monkeypatch.setattr(streamed, "shard", poisoned)
    with pytest.raises(TrainingDivergedError) as error:
        train.train_and_evaluate(config, tmp_path)
    message = str(error.value)
    assert "face_" in message
    if poison == "nan":
        assert "step 3" in message and "landmark" in message and "step 2" in message
        assert weights_of(tmp_path)[0] == 2
    else:
        assert "step 1" in message and "none yet" in message


def test_changed_face_model_is_noticed_on_resuming(config, tmp_path, tiny_model, caplog):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    changed = tmp_path / "changed.npz"
    tiny_model.replace(mean_shape=tiny_model.mean_shape * 1.01).save(changed)
    config.face_model, config.num_steps = str(changed), 2
    train.train_and_evaluate(config, tmp_path)
    assert "changed since" in caplog.text


def test_another_encoder_in_the_same_workdir_is_refused(config, tmp_path):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    config.optimizer.name = "adadelta"
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(CheckpointError, match="does not fit"):
        train.train_and_evaluate(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def train_step_gradients(model, config, num_devices):
    """The averaged gradient and the metrics of a train step on some of the simulated devices."""
    devices = jax.local_devices()[:num_devices]
    cam = make_camera(config.camera)
    learned = learner.make_learner(config, model, cam)
    weights = learned.initial_weights()
    rng = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda w: np.asarray(w) + 0.01 * rng.normal(size=w.shape).astype(np.float32), weights
    )
    batch = synthetic_batch(example_keys(3, 0, 4, "train"), model, cam)
    batch["confidence"] = batch["confidence"].at[:2].set(0)  # some devices see no landmark
    batch = {
        "image": np.asarray(jnp.round(255 * batch["image"]).astype(jnp.uint8)),
        "landmarks": np.asarray(batch["landmarks"]),
        "confidence": np.asarray(batch["confidence"]),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_device_count", lambda: num_devices)
        patch.setattr(jax, "local_devices", lambda: devices)
        keep_gradient = lambda gradient, state, weights: (gradient, gradient)  # noqa: E731
        optimizer = optax.GradientTransformation(lambda weights: weights, keep_gradient)
        pmap = jax.pmap
        patch.setattr(jax, "pmap", lambda *a, **k: pmap(*a, devices=devices, **k))
        steps = not_stored(make_train_steps(learned.objective, optimizer))
        state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
        decoder = replicate(learned.decoder)
        batches = streamed.shard({key: array[None] for key, array in batch.items()})
        new, metrics = steps(replicate(state), decoder, batches)
    return jax.device_get(new.opt_state), jax.tree.map(lambda values: float(values[0]), metrics)


def test_four_devices_give_the_gradients_of_one(config, tiny_model):
    config.loss.population_pose = config.loss.population_place = 0.5
    four, four_metrics = train_step_gradients(tiny_model, config, 4)
    one, one_metrics = train_step_gradients(tiny_model, config, 1)
    # A block's gain is one number, a sum of many of both signs: how much of it float32 leaves open
    # depends on the machine's order of summation; 5e-7 was seen, of gradients up to 1.
    for a, b in zip(jax.tree.leaves(four), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, atol=max(1e-5 * np.abs(b).max(), 1e-6))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), four_metrics, one_metrics
    )


def test_a_training_with_the_loopback_goes_on_bit_for_bit(config, tmp_path):
    config.loss.landmark, config.loss.loopback, config.loss.loopback_code = 0.0, 2.0, 0.1
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path / "interrupted")
    config.num_steps = 2
    train.train_and_evaluate(config, tmp_path / "interrupted")
    train.train_and_evaluate(config, tmp_path / "whole")
    assert_same(weights_of(tmp_path / "interrupted")[1], weights_of(tmp_path / "whole")[1])
    assert losses_of(tmp_path / "whole", "train/loopback")[2] > 0


def test_missing_data_path_is_one_clear_sentence(config, tmp_path):
    config.data.path = ""
    with pytest.raises(ValueError, match=r"data\.path is empty"):
        train.train_and_evaluate(config, tmp_path)


def test_run_can_start_from_another_runs_encoder(config, tmp_path):
    config.num_steps = 2
    train.train_and_evaluate(config, tmp_path / "first")
    config.encoder.pretrained, config.optimizer.learning_rate = str(tmp_path / "first"), 0.0
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path / "second")
    assert_same(weights_of(tmp_path / "second")[1], weights_of(tmp_path / "first")[1])


def test_a_run_can_start_from_the_encoder_in_the_box(config, tmp_path):
    config.face_model, config.encoder.pretrained, config.num_steps = "open", "open", 1
    del config.encoder.widths, config.encoder.num_hidden
    config.start = config.copy_and_resolve_references()  # not needed: it has been trained
    config.optimizer.learning_rate = 0.0
    train.run_experiment(config, tmp_path)
    assert not (tmp_path / "start").exists()
    assert_same(weights_of(tmp_path)[1], read_trained()[0])


def test_the_encoder_in_the_box_fits_its_own_network_and_face_model_alone(config, tmp_path):
    config.encoder.pretrained = "open"
    with pytest.raises(CheckpointError, match="sizes"):
        train.train_and_evaluate(config, tmp_path / "analytic")
    config.encoder.name = "alexnet"
    with pytest.raises(CheckpointError, match="open: this run's encoder is compact"):
        train.train_and_evaluate(config, tmp_path / "alexnet")


def test_a_run_of_another_encoder_or_face_model_is_no_start(config, tmp_path, caplog):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path / "first")
    config.encoder.pretrained = str(tmp_path / "first")
    other = config.copy_and_resolve_references()
    other.encoder.name = "alexnet"
    with pytest.raises(CheckpointError, match="this run's encoder is compact"):
        train.train_and_evaluate(other, tmp_path / "second")
    other = config.copy_and_resolve_references()
    other.face_model = "open"
    with pytest.raises(CheckpointError, match="sizes"):
        train.train_and_evaluate(other, tmp_path / "third")
    other = config.copy_and_resolve_references()
    other.encoder.widths = (4, 8, 8, 8, 8)
    with pytest.raises(CheckpointError, match=r"this run has encoder\.widths"):
        train.train_and_evaluate(other, tmp_path / "narrow")
    config.camera.distance = 8.0
    train.train_and_evaluate(config, tmp_path / "fourth")
    assert "this run's camera is another one" in caplog.text


def test_settings_that_changed_since_a_run_began_are_named(config, tmp_path, caplog):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    train.train_and_evaluate(config, tmp_path)
    assert "other settings" not in caplog.text
    config.num_steps, config.loss.landmark = 2, 0.25
    train.train_and_evaluate(config, tmp_path)
    assert "num_steps 1 -> 2" in caplog.text and "loss.landmark" in caplog.text


def test_a_run_that_goes_on_with_other_faces_says_so(config, tmp_path, caplog):
    rng = np.random.default_rng(0)
    points = 120 + rng.uniform(-40, 40, (5, 68, 2))
    (tmp_path / "p").mkdir()
    files = [f"{k}.png" for k in range(5)]
    for name in files:
        image = rng.integers(0, 255, (240, 240, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "p" / name)
    np.savez(tmp_path / "p" / "landmarks.npz", files=files, landmarks=points)
    config.data.kind, config.data.path = "photographs", str(tmp_path / "p")
    config.data.crop, config.data.eval_fraction, config.num_steps = "landmarks", 0.4, 1
    train.train_and_evaluate(config, tmp_path / "run")
    config.num_steps = 2
    train.train_and_evaluate(config, tmp_path / "run")
    assert "other faces" not in caplog.text
    (tmp_path / "p" / "0.png").unlink()
    config.num_steps = 3
    train.train_and_evaluate(config, tmp_path / "run")
    assert "Going on with other faces than before, in another order: " in caplog.text


def test_a_start_that_has_ended_takes_no_other_settings(config, caplog):
    config.start = config.copy_and_resolve_references()
    before = json.loads(json.dumps(config.to_dict()))
    config.start.num_steps = 8
    train._warn_of_changes(before, config)
    assert "Without effect, the start has ended: start.num_steps 6 -> 8." in caplog.text
    assert "other settings" not in caplog.text


def test_a_model_without_landmarks_is_refused_where_the_loss_compares_them(config, tiny_model):
    bare = tiny_model.replace(landmarks=np.full_like(tiny_model.landmarks, -1))
    cam = make_camera(config.camera)
    with pytest.raises(InputError, match=r"none of the landmarks that loss\.landmark compare"):
        learner.make_learner(config, bare, cam)
    config.loss.landmark = 0.0
    learner.make_learner(config, bare, cam)
    config.loss.closure = 1.0
    noses_alone = tiny_model.replace(landmarks=bare.landmarks.copy())
    noses_alone.landmarks[27:36] = tiny_model.landmarks[27:36]
    with pytest.raises(InputError, match=r"none of the landmarks that loss\.closure compare"):
        learner.make_learner(config, noses_alone, cam)


def test_the_largest_term_of_either_sign_is_named():
    metrics = {
        "loss": np.array([-1e9]),
        "terms": {"photometric": np.array([0.5]), "area": np.array([-1e9])},
        "norms": {"gradient_norm": np.array([1.0])},
    }
    run = SimpleNamespace(latest_step=None)
    with pytest.raises(TrainingDivergedError, match=r"area = -1e\+09 on the batch a.jpg"):
        check_divergence(1, metrics, lambda _: ["a.jpg"], 100.0, run)


def test_held_out_errors_are_on_the_disk_at_once_and_a_full_disk_is_said(config, tmp_path):
    watch = Watch(tmp_path, config, None, {})
    errors = {"landmark_error": 4.5, "geometric_error": np.nan, "num_failed": 0}
    with watch.progress(1, 1):
        watch.evaluation(3, errors)
        logged = logged_evaluations(tmp_path)
        assert logged == {"landmark_error": {3: 4.5}, "num_failed": {3: 0.0}}
        (file,) = (int(fd) for fd in os.listdir("/proc/self/fd") if _leads_to(fd, tmp_path))
        disk, full = os.dup(file), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file)
        with pytest.raises(OSError, match="No space left"):
            watch.evaluation(4, errors)
        os.dup2(disk, file)
        os.close(disk)
        os.close(full)


def _leads_to(fd, folder):
    link = f"/proc/self/fd/{fd}"
    return os.path.lexists(link) and os.readlink(link).startswith(f"{folder}/events")


def test_unusable_photographs_are_named_before_the_start(config, tmp_path, monkeypatch):
    config.start = config.copy_and_resolve_references()
    monkeypatch.setattr(train, "train_and_evaluate", lambda *_: pytest.fail("trained"))
    config.data.path = str(tmp_path / "nothing")
    with pytest.raises(InputError, match="nothing"):
        train.run_experiment(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("data.device_cache", "yes", "device_cache is 'yes'"),
        ("data.num_eval", 0, "num_eval is 0"),
        ("data.augmentation.flip", 2.0, "flip"),
        ("loss.code", 1.0, "loss.code is 1"),
        ("loss.photometric_geometry", 2.0, "photometric_geometry is 2"),
        ("keep_checkpoints", 0, "keep_checkpoints is 0"),
        ("batch_size", 3, "batch"),
        ("seed", -1, "seed is -1"),
        ("encoder.name", "resnet", "no encoder"),
        ("decoder.name", "convolutionl", "decoder.name is"),
    ],
)
def test_unusable_settings_are_named_before_the_start(
    config, tmp_path, monkeypatch, field, value, reason
):
    config.start = config.copy_and_resolve_references()
    monkeypatch.setattr(train, "train_and_evaluate", lambda *_: pytest.fail("trained"))
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=reason):
        train.run_experiment(config, tmp_path / "run")


def test_a_device_cache_without_room_is_named_before_the_start(config, tmp_path, monkeypatch):
    config.start, config.data.device_cache = config.copy_and_resolve_references(), "on"
    monkeypatch.setattr(train, "train_and_evaluate", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(resident, "_room", lambda: 1.0)
    with pytest.raises(InputError, match="GB free for them"):
        train.run_experiment(config, tmp_path / "run")


@pytest.mark.parametrize("field", ["name", "dtype", "pretrained"])
def test_an_unusable_encoder_is_named_before_its_decoder_is_learned(
    config, tmp_path, monkeypatch, field
):
    config.start = config.copy_and_resolve_references()
    monkeypatch.setattr(train, "train_and_evaluate", lambda *_: pytest.fail("trained"))
    config.decoder.name, config.encoder[field] = "convolutional_fixed", "nothing"
    with pytest.raises(InputError, match="nothing"):
        train.run_experiment(config, tmp_path / "run")


def test_the_start_has_the_whole_encoder(config, tmp_path, monkeypatch):
    config.start = config.copy_and_resolve_references()
    config.encoder.update({"name": "compact", "widths": (8, 8, 16, 16, 16), "num_hidden": 24})
    begun = []
    monkeypatch.setattr(
        train, "train_and_evaluate", lambda config, _: begun.append(config.encoder) or {}
    )
    train.run_experiment(config, tmp_path)
    assert (begun[0].widths, begun[0].num_hidden) == (begun[1].widths, 24)


def test_the_start_begins_with_the_weights_of_a_file(config, tmp_path, monkeypatch):
    config.start = config.copy_and_resolve_references()
    config.encoder.pretrained = "vgg.caffemodel"
    begun = []
    monkeypatch.setattr(
        train,
        "train_and_evaluate",
        lambda config, workdir: begun.append(config.encoder.pretrained) or {},
    )
    train.run_experiment(config, tmp_path)
    assert begun == ["vgg.caffemodel", str(tmp_path / "start")]


def test_a_decoder_that_is_not_there_is_not_trained_instead(config, tmp_path, monkeypatch):
    config.start = config.copy_and_resolve_references()
    config.decoder.name, config.decoder.pretrained = "convolutional_fixed", "/no/such/run"
    begun = []
    monkeypatch.setattr(
        train, "train_and_evaluate", lambda config, workdir: begun.append(workdir) or {}
    )
    train.run_experiment(config, tmp_path)
    assert begun == [tmp_path]


def test_a_face_that_cannot_be_drawn_is_named_before_the_training(config, tmp_path):
    config.decoder.name, config.reconstruct = "convolutional", "astronaut"
    with pytest.raises(InputError, match=r"reconstruct is astronaut, but with decoder\.name conv"):
        train.run_experiment(config, tmp_path)


def test_another_face_model_with_as_many_modes_is_refused(config, tmp_path):
    config.num_steps = 1
    train.train_and_evaluate(config, tmp_path)
    model = load_face_model(config.face_model)
    model.replace(name="another", mean_shape=1.1 * model.mean_shape).save(tmp_path / "other.npz")
    with pytest.raises(CheckpointError, match=r"of face model 'analytic face' .* but 'another'"):
        mofa_jax.load_for_inference(tmp_path, tmp_path / "other.npz")


def test_the_photographs_of_a_run_are_found_from_other_folders(config, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(config.data.path).parent)
    config.num_steps, config.data.path = 1, Path(config.data.path).name
    train.train_and_evaluate(config, tmp_path / "run")
    command = [sys.executable, "-m", "mofa_jax.evaluate", f"--workdir={tmp_path / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0 and "faces, 0 failed" in done.stdout, done.stderr


@pytest.mark.parametrize("gone", ["photographs", "landmarks"])
def test_a_run_is_evaluated_on_the_faces_that_it_left(config, tmp_path, gone):
    photographs = tmp_path / "photographs"
    shutil.copytree(config.data.path, photographs)
    config.num_steps, config.data.path, config.data.num_eval = 1, str(photographs), 100
    errors = train.train_and_evaluate(config, tmp_path / "run")
    shutil.rmtree(photographs) if gone == "photographs" else (
        photographs / "landmarks.npz"
    ).unlink()
    command = [sys.executable, "-m", "mofa_jax.evaluate", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "run").glob("evaluation/evaluation.json")
    mean = json.loads(found.read_text())["all"]["errors"]["landmark_error"]["mean"]
    assert mean == pytest.approx(errors["landmark_error"], rel=1e-4)
    assert len([*(tmp_path / "run" / "corpus").glob("faces-*/")]) == 1


def test_a_relative_folder_is_prepared_once_for_start_run_and_evaluation(
    config, tmp_path, monkeypatch
):
    monkeypatch.chdir(Path(config.data.path).parent)
    config.num_steps, config.data.path = 1, Path(config.data.path).name
    config.start = config.copy_and_resolve_references()
    config.start.data.kind = "synthetic"
    train.run_experiment(config, tmp_path)
    monkeypatch.chdir("/")
    resolved = mofa_jax.load_for_inference(tmp_path).config
    open_data(resolved, load_face_model(config.face_model), make_camera(config.camera), tmp_path)
    assert len([*(tmp_path / "corpus").glob("faces-*/")]) == 1


def test_a_run_that_was_begun_with_a_relative_path_keeps_it(config, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(Path(config.data.path).parent)
    config.num_steps, config.data.path = 1, Path(config.data.path).name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "keep_places", lambda *_: None)  # a run of before
        train.train_and_evaluate(config, tmp_path)
    config.num_steps = 2
    train.train_and_evaluate(config, tmp_path)
    assert "data.path" not in caplog.text
    assert len([*(tmp_path / "corpus").glob("faces-*/")]) == 1


def test_a_loss_that_a_run_did_not_begin_with_is_named(caplog):
    before, config = compact.get_config().to_dict(), compact.get_config()
    del before["loss"]["loopback"], before["loss"]["loopback_code"]
    config.loss.loopback = 2.0
    train._warn_of_changes(before, config)
    assert "loss.loopback (new) 2.0." in caplog.text


def test_a_face_models_file_is_found_from_other_folders(config, tmp_path, monkeypatch):
    config.num_steps = 1
    load_face_model(config.face_model).save(tmp_path / "mine.npz")
    monkeypatch.chdir(tmp_path)
    config.face_model = "mine.npz"
    train.train_and_evaluate(config, tmp_path / "run")
    monkeypatch.chdir("/")
    assert mofa_jax.load_for_inference(tmp_path / "run").model.num_vertices > 0


def test_what_is_due_every_zero_steps_is_refused(config, tmp_path):
    config.image_every = 0
    with pytest.raises(InputError, match="image_every is 0"):
        train.train_and_evaluate(config, tmp_path)


def test_experiment_runs_the_one_that_it_starts_from_first_and_once(config, tmp_path):
    config.start = config.copy_and_resolve_references()
    config.start.data.kind, config.start.num_steps = "synthetic", 2
    config.start.face_model, config.start.seed = "analytic", 7  # the experiment's own count
    config.num_steps, config.optimizer.learning_rate = 1, 0.0
    assert train.run_experiment(config, tmp_path)["num_failed"] == 0
    step, weights = weights_of(tmp_path / "start")
    assert step == 2
    resolved = json.loads((tmp_path / "start" / "config.json").read_text())["config"]
    assert (resolved["seed"], resolved["face_model"]) == (config.seed, config.face_model)
    assert_same(weights_of(tmp_path)[1], weights)
    written = (tmp_path / "start" / "config.json").stat().st_mtime_ns
    train.run_experiment(config, tmp_path)
    assert (tmp_path / "start" / "config.json").stat().st_mtime_ns == written


def test_stopped_start_does_not_go_on_to_the_experiment(config, tmp_path, monkeypatch):
    config.start = config.copy_and_resolve_references()
    monkeypatch.setattr(train, "train_and_evaluate", lambda config, workdir: None)
    assert train.run_experiment(config, tmp_path) is None
