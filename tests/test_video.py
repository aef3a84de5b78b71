"""Videos: smoothing against closed forms, a face's place against the projection, the command."""

import dataclasses
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import jax
import numpy as np
import oracle
import pytest
import skimage.data
from scipy.spatial.transform import Rotation
from test_gltf import khronos_report, read_glb
from test_parameter_file import saved_face

import mofa_jax
from mofa_jax import extras, metrics, reconstruct
from mofa_jax.data.faces.crop import Crop, crop_from_box, resample, transform_points
from mofa_jax.data.faces.detectors import FaceDetector
from mofa_jax.errors import InputError
from mofa_jax.export.video import video_writer
from mofa_jax.inference import REFINE_STEPS, Reconstruction
from mofa_jax.reconstruction.finished import is_finished_video, others_results
from mofa_jax.renderer import compiled_render
from mofa_jax.results.clip import Clip, ClipFileError, load_clip, save_clip
from mofa_jax.results.parameter_file import save_parameters
from mofa_jax.video import reconstruct as reconstruct_video
from mofa_jax.video.head_motion import animation, placed, places, smoothed
from mofa_jax.video.identity import EvenlySpread, with_fitted_identity, with_median_identity
from mofa_jax.video.live import LiveFace, show_camera
from mofa_jax.video.smoothing import Smoothness, smoothed_further, smoothed_without_lag
from mofa_jax.video.tracking import Tracker

ROOT = Path(__file__).resolve().parents[1]
CORNERS = {
    36: (193, 102),
    45: (259, 105),
    48: (203, 140),
    54: (247, 139),
}  # see test_trained_encoder
BLACK = (10, 11, 19)
TIMES = np.cumsum([0.2] + 9 * [0.04] + 10 * [0.06])  # of the clip's frames, s: not evenly spaced


def random_clip(model, count=6, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (sum(model.code_sizes) + 33,)
    params = mofa_jax.FaceParams.from_code(0.2 * rng.normal(size=(count, *sizes)), model)
    scale = rng.uniform(0.8, 1.6, count)
    affine = np.zeros((count, 2, 3))
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    affine[:, :, 2] = rng.uniform(20, 90, (count, 2))
    frames = np.array([0, 1, 2, 4, 5, 9])[:count]
    cam = mofa_jax.Camera()
    return Clip(params, frames, frames / 25, affine, (300, 400), cam, "open", model.name)


def center_in_frames(clip):
    """Where the world's origin is in each frame, by the oracle's conventions."""
    below = -np.asarray(clip.params.translation, float) - [0, 0, clip.cam.distance]
    screen = np.stack(
        [120 + 1087.5 * below[:, 0] / -below[:, 2], 120 - 1087.5 * below[:, 1] / -below[:, 2]], 1
    )
    return np.stack(
        [transform_points(a, p) for a, p in zip(clip.crop_to_photograph, screen, strict=True)]
    )


def test_a_filter_without_speed_is_a_low_pass_of_first_order():
    weight = 1 / (1 + 1 / (2 * np.pi * 2.0 * 0.04))
    state = smoothed_further(None, np.zeros(1), 0.0, Smoothness(2.0, 0.0))
    for n in range(1, 8):
        state = smoothed_further(state, np.ones(1), 0.04, Smoothness(2.0, 0.0))
        assert state.value[0] == pytest.approx(1 - (1 - weight) ** n)


def test_trembling_goes_and_movement_stays():
    times, rng = np.arange(200) / 25, np.random.default_rng(0)
    noise = rng.normal(size=(200, 1))
    still = smoothed_without_lag(0.02 * noise, times, Smoothness(1.0, 5.0))
    assert still[20:-20].std() < 0.5 * 0.02
    path = np.sin(2 * np.pi * 0.5 * times)[:, None]
    moved = smoothed_without_lag(path, times, Smoothness(1.0, 5.0))
    assert np.abs(moved - path)[20:-20].max() < 0.05
    assert smoothed_without_lag(path[:1], times[:1], Smoothness(1.0, 5.0)) == path[:1]


def test_a_place_is_where_the_heads_center_is_projected(tiny_model):
    clip = random_clip(tiny_model)
    np.testing.assert_allclose(places(clip)[:, :2], center_in_frames(clip), atol=1e-3)
    wanted = places(clip) + np.array([5.0, -3.0, 0.1])
    moved = placed(clip, wanted)
    np.testing.assert_allclose(places(moved), wanted, atol=1e-3)
    np.testing.assert_allclose(center_in_frames(moved), wanted[:, :2], atol=1e-3)


def test_smoothing_leaves_a_face_that_is_still_where_it_is_whatever_its_crops(tiny_model):
    clip = random_clip(tiny_model)
    still = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:1], len(x), 0), clip.params)
    clip = placed(Clip(**{**vars(clip), "params": still}), np.repeat(places(clip)[:1], 6, 0))
    after = smoothed(clip)
    for before, value in zip(
        jax.tree.leaves(clip.params), jax.tree.leaves(after.params), strict=True
    ):
        np.testing.assert_allclose(value, before, atol=1e-4)


def test_the_median_identity_is_not_moved_by_an_outlier(tiny_model):
    clip = random_clip(tiny_model, 5)
    shape = np.array(clip.params.shape)
    shape[0] += 100
    clip = dataclasses.replace(clip, params=clip.params.replace(shape=shape))
    shared = with_median_identity(clip).params
    assert (shared.shape == shared.shape[:1]).all() and np.abs(shared.shape).max() < 1
    np.testing.assert_array_equal(shared.expression, clip.params.expression)


@pytest.mark.parametrize("seen", [1, 5, 8, 9, 16, 17, 33, 300])
def test_a_few_items_of_a_stream_of_any_length_are_spread_evenly_over_it(seen):
    spread = EvenlySpread(8)
    for item in range(seen):
        spread.add(f"item {item}")
    places = list(spread.items())
    assert list(spread.items().values()) == [f"item {place}" for place in places]
    assert len(places) == min(seen, 8) and places[0] == 0
    assert seen - places[-1] <= 1 + seen / 8
    if seen > 16:
        assert np.diff(places).max() <= 3 * seen / 8 and np.diff(places).min() >= seen / 16


def test_keyframes_are_fitted_and_the_frames_between_follow(tiny_model, monkeypatch):
    clip, predict = random_clip(tiny_model), object()
    keyframes = {
        place: Reconstruction(clip.face(place), Crop(np.zeros((1, 1, 3), np.uint8), None, None), 0)
        for place in (1, 4)
    }
    identity = random_clip(tiny_model, 1, seed=1).face(0)
    light = {1: 0.3, 4: 0.9}

    def fitted(faces, by, num_steps):
        assert by is predict and num_steps == 5
        return [
            dataclasses.replace(
                face,
                params=face.params.replace(
                    shape=identity.shape,
                    reflectance=identity.reflectance,
                    illumination=face.params.illumination + light[place],
                ),
            )
            for place, face in zip(keyframes, faces, strict=True)
        ]

    monkeypatch.setattr("mofa_jax.video.identity.with_one_identity", fitted)
    params = with_fitted_identity(clip, keyframes, predict, 5).params
    for name in ("shape", "reflectance"):
        expected = np.repeat(np.asarray(getattr(identity, name))[None], 6, axis=0)
        np.testing.assert_array_equal(getattr(params, name), expected)
    for name in ("expression", "rotation", "translation"):
        np.testing.assert_allclose(getattr(params, name), getattr(clip.params, name), atol=1e-6)
    # Frames 0, 1, 2, 4, 5 and 9, of which 1 and 5 are keyframes.
    change = (params.illumination - clip.params.illumination)[:, 0, 0]
    np.testing.assert_allclose(change, [0.3, 0.3, 0.45, 0.75, 0.9, 0.9], atol=1e-6)


def test_keyframes_show_a_still_camera_what_the_crops_show(tiny_model):
    clip = random_clip(tiny_model)
    moved, place = animation(clip), places(clip)
    assert moved.times == pytest.approx(clip.frames / 25)
    focal = 10.0 * np.exp(place[:, 2].mean())
    size = np.exp(place[:, 2])
    first = [*(place[0, :2] - [200, 150]) / size[0], focal / size[0]] * np.array([1, -1, -1])
    position = moved.translations - moved.translations[0] + first
    points = np.asarray(tiny_model.mean_shape, float)
    for k in range(6):
        turned = Rotation.from_quat(moved.rotations[k]).apply(points)
        expected = points @ np.linalg.inv(oracle.rotation(clip.params.rotation[k])).T
        np.testing.assert_allclose(turned, expected, atol=1e-5)
        x, y, z = position[k]
        np.testing.assert_allclose(
            [200 + focal * x / -z, 150 - focal * y / -z], place[k, :2], rtol=1e-4
        )
        assert focal / -z == pytest.approx(size[k], rel=1e-4)


def test_a_clip_comes_back_from_its_file(tiny_model, tmp_path):
    clip = random_clip(tiny_model)
    made = {"video": "/clip.mp4", "encoder_checksum": "e", "refine_steps": 0, "smooth": False}
    clip = dataclasses.replace(with_median_identity(clip), **made)
    save_clip(tmp_path / "clip.npz", clip)
    back = load_clip(tmp_path / "clip.npz")
    for name, value in vars(clip).items():
        if name != "params":
            np.testing.assert_array_equal(np.asarray(vars(back)[name] == value).all(), True, name)
    for a, b in zip(jax.tree.leaves(back.params), jax.tree.leaves(clip.params), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b, np.float32))


def test_a_clip_named_like_a_face_gets_another_name_than_what_is_there(tiny_model, tmp_path):
    saved = dataclasses.replace(saved_face(tiny_model.code_sizes), photograph="/a/x.jpg")
    save_parameters(tmp_path / "x.0.json", saved)
    clip = dataclasses.replace(with_median_identity(random_clip(tiny_model)), video="/a/y.0.mp4")
    save_clip(tmp_path / "y.0.npz", clip)
    are_of_another = others_results(tmp_path)
    names = ("x.0", "/a/x.0.mp4"), ("x.0", "/a/x.0.jpg"), ("y", "/a/y.jpg"), ("y", "/a/y.mp4")
    assert [are_of_another(name, Path(path)) for name, path in names] == [True, False, True, False]


def test_a_clip_file_of_an_even_rate_has_times(tiny_model, tmp_path):
    clip = with_median_identity(random_clip(tiny_model))
    save_clip(tmp_path / "clip.npz", clip)
    with np.load(tmp_path / "clip.npz") as file:
        arrays = {**file, "rate": np.array(25.0)}
    del arrays["times"]
    np.savez(tmp_path / "clip.npz", **arrays)
    np.testing.assert_allclose(load_clip(tmp_path / "clip.npz").times, clip.frames / 25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation": np.zeros((6, 2))}, "'rotation' has the shape"),
        ({"expression": np.full((6, 4), np.nan)}, "'expression' holds NaN"),
        ({"frames": np.zeros(0, int)}, "has the shape|0 frames"),
        ({"times": np.zeros(6)}, "its times do not rise"),
        ({"times": None}, "no clip|cannot be read"),
    ],
)
def test_a_damaged_clip_is_one_sentence(tiny_model, tmp_path, change, message):
    save_clip(tmp_path / "clip.npz", random_clip(tiny_model))
    with np.load(tmp_path / "clip.npz") as file:
        arrays = {**file, **{name: value for name, value in change.items()}}
    np.savez(tmp_path / "clip.npz", **{n: v for n, v in arrays.items() if v is not None})
    with pytest.raises(ClipFileError, match=message):
        load_clip(tmp_path / "clip.npz")


def motion(t):
    """Where the astronaut's pixels are in frame t: [2, 3], scaled, turned and moved."""
    affine = cv2.getRotationMatrix2D((223, 120), 8 * np.sin(t / 5), 1.0 + 0.15 * np.sin(t / 7))
    affine[:, 2] += (-60 + 4 * t, 20 * np.sin(t / 4))
    return affine


def frame_of(t):
    """The t-th frame: the moved astronaut."""
    image = skimage.data.astronaut()
    return cv2.warpAffine(image, motion(t), (400, 300), borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A clip of the moving astronaut with sound and three black frames; a broken one beside it."""
    folder = tmp_path_factory.mktemp("video")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        video = container.add_stream("libx264")
        video.codec_context.time_base = Fraction(1, 1000)
        video.width, video.height, video.pix_fmt = 400, 300, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for t in range(20):
            frame = frame_of(t)
            frame[:] = 0 if t in BLACK else frame
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = round(1000 * TIMES[t]), Fraction(1, 1000)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(int(16000 * TIMES[-1])) * 0.2).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    (folder / "broken.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:3000])
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--output={folder / 'out'}"]
    command += [str(folder / "broken.mp4"), str(folder / "clip.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done, folder / "out", folder / "clip.mp4"


@pytest.mark.slow
def test_a_broken_video_is_one_sentence_and_the_others_go_on(results):
    done, output, _ = results
    assert done.returncode == 0, done.stderr
    assert "broken.mp4: no frame can be read" in done.stderr and "Traceback" not in done.stderr
    assert "a face in 17 of 20 frames" in done.stdout
    assert {file.name for file in output.iterdir()} == {"clip.overlay.mp4", "clip.glb", "clip.npz"}


@pytest.mark.slow
def test_a_finished_video_is_left_as_it_is(results, capsys):
    _, output, path = results
    before = (output / "clip.npz").stat().st_mtime_ns
    predict = mofa_jax.load_for_inference()
    summary = reconstruct.reconstruct_all(predict, [path], output, REFINE_STEPS, resume=True)
    assert summary.videos == 1 and summary.skipped == 0
    assert "a face in 1 of 1 videos" in capsys.readouterr().out
    assert (output / "clip.npz").stat().st_mtime_ns == before
    other = dataclasses.replace(predict, weights=jax.tree.map(lambda w: w + 1, predict.weights))
    made_by = Path(path), "clip", output, predict, REFINE_STEPS, True
    assert is_finished_video(*made_by)
    for name in ("clip.overlay.mp4", "clip.glb"):
        (output / name).rename(output / "away")
        assert not is_finished_video(*made_by)
        (output / "away").rename(output / name)
    for place, value in ((0, Path("elsewhere/clip.mp4")), (3, other), (4, 0), (5, False)):
        assert not is_finished_video(*made_by[:place], value, *made_by[place + 1 :])
    for replaced in (Path(path).with_name("other.mp4"), None):
        Path(path).rename(Path(path).with_name("away.mp4"))
        if replaced:
            replaced.write_bytes(b"another video")
            os.utime(replaced, (1e9, 1e9))  # older than the results
            replaced.rename(path)
        assert not is_finished_video(*made_by)
        Path(path).with_name("away.mp4").replace(path)


@pytest.mark.slow
def test_a_clips_face_has_one_identity_and_moves_as_the_pixels_do(results):
    clip = load_clip(results[1] / "clip.npz")
    assert list(clip.frames) == [t for t in range(20) if t not in BLACK]
    np.testing.assert_allclose(clip.times, np.delete(TIMES, BLACK) - TIMES[0], atol=1e-3)
    assert (clip.params.shape == clip.params.shape[0]).all()
    model = mofa_jax.load_face_model(clip.face_model)
    vertices = model.landmarks[np.array(list(CORNERS))]
    distances = []
    for k, t in enumerate(clip.frames):
        rendering = compiled_render(clip.face(k), model, clip.cam)
        drawn = transform_points(clip.crop_to_photograph[k], rendering.screen[vertices])
        seen = transform_points(motion(t), np.array(list(CORNERS.values()), float))
        distances.append(np.linalg.norm(drawn - seen, axis=1).mean())
    assert max(distances) < 8  # px; the face is about 100 px wide


@pytest.mark.slow
def test_a_clips_face_fits_its_frames_better_than_the_encoder_sees_it(results):
    _, output, path = results
    done = subprocess.run(
        [sys.executable, "-m", "mofa_jax.reconstruct", "--refine=0", f"--output={output}_0", path],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    errors = []
    for folder in (f"{output}_0", output):
        clip = load_clip(Path(folder) / "clip.npz")
        model = mofa_jax.load_face_model(clip.face_model)
        crops = [
            resample(frame_of(t), affine, clip.cam.image_size[0])
            for t, affine in zip(clip.frames, clip.crop_to_photograph, strict=True)
        ]
        drawn = (compiled_render(clip.face(k), model, clip.cam) for k in range(len(crops)))
        errors.append(
            [
                float(metrics.photometric_error(rendering, crop.astype(np.float32) / 255))
                for rendering, crop in zip(drawn, crops, strict=True)
            ]
        )
    assert (np.array(errors[1]) < errors[0]).all() and np.mean(errors[1]) < 0.85 * np.mean(
        errors[0]
    )


@pytest.mark.slow
def test_the_overlay_video_shows_the_face_and_keeps_the_sound(results):
    with av.open(str(results[1] / "clip.overlay.mp4")) as video:
        assert float(video.streams.audio[0].duration * video.streams.audio[0].time_base) > 0.7
        frames = list(video.decode(video=0))
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    assert len(pictures) == 20 and pictures[0].shape == (300, 400, 3)
    np.testing.assert_allclose([frame.time for frame in frames], TIMES, atol=1e-3)
    assert pictures[BLACK[0]].max() < 20
    change = np.abs(pictures[0].astype(float) - frame_of(0)).mean(axis=-1)
    assert change[95:165, 130:200].mean() > 3 * change[:, 280:].mean()


@pytest.mark.slow
def test_the_animated_face_passes_khronos(results):
    tree, values = read_glb(results[1] / "clip.glb")
    times = values(tree["animations"][0]["samplers"][0]["input"])[:, 0]
    seen = np.delete(TIMES, BLACK)
    np.testing.assert_allclose(times, seen - seen[0], atol=1e-3)
    report = khronos_report(results[1] / "clip.glb")
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [("avi", "pcm_s16le", 44_100, "mono"), ("flac", "flac", 192_000, "stereo"),
     ("mkv", "pcm_s16le", 48_000, "7.1(wide)")],
)  # fmt: skip
def test_sound_is_kept_whatever_its_rate_and_channels(tmp_path, container, codec, rate, layout):
    source, written = tmp_path / f"a.{container}", tmp_path / "b.mp4"
    with av.open(str(source), "w") as file:
        track = file.add_stream(codec, rate=rate, layout=layout)
        tone = (9000 * np.sin(np.arange(rate) * 0.05)).astype(np.int16)
        channels = av.AudioLayout(layout).nb_channels
        for piece in np.split(tone, 100):
            sound = av.AudioFrame.from_ndarray(np.repeat(piece, channels)[None], "s16", layout)
            sound.sample_rate = rate
            file.mux(track.encode(sound))
        file.mux(track.encode(None))
    with video_writer(written, (32, 32), sound_of=source) as append:
        for t in range(25):
            append(np.zeros((32, 32, 3), np.uint8), t / 25)
    with av.open(str(written)) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        assert file.streams.audio[0].rate == 48_000 and len(heard) == pytest.approx(48_000, rel=0.1)
        assert 0.1 < np.abs(heard).max() <= 1


def test_a_video_that_fails_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    def failing(predict, path, stem, refine_steps, smooth):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(reconstruct_video, "reconstruct_video", failing)
    named = {tmp_path / "a.mp4": "a", tmp_path / "b.mp4": "b"}
    assert reconstruct_video.reconstruct_videos(None, named, tmp_path, 5, True) == (0, 2)
    assert f"failed: {tmp_path / 'b.mp4'}: two lines\n" in capsys.readouterr().err


def live(*options):
    command = [sys.executable, "-m", "mofa_jax.reconstruct", "--port=8471", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host=0.0.0.0", "a.jpg"), "--host is of the page of a --camera"),
        (("--camera=0", "--output=a"), "--mesh, --output: a camera cannot"),
        (("--nosame_person", "a.mp4", "b.MOV"), "--mesh, --same_person: videos cannot"),
    ],
)
def test_flags_of_photographs_are_refused_for_videos_and_a_camera(arguments, message):
    done = live("--mesh=ply", *arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert message in done.stdout + done.stderr


@pytest.mark.slow
def test_a_camera_that_is_not_there_is_one_sentence():
    pytest.importorskip("viser", reason="the camera's page needs viser")
    done = live("--camera=77")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: camera 77: it gives no picture; check" in done.stderr


def test_without_viser_a_camera_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.setattr(extras, "_CHECKOUT", Path("/no/checkout"))
    with pytest.raises(InputError, match=r'viser; pip install "mofa_jax\[viewer\]"'):
        show_camera(None, "0", True, "127.0.0.1", 8471)


@pytest.mark.slow
def test_a_stream_is_shown_live(results):
    pytest.importorskip("viser", reason="the camera's page needs viser")
    done = live(f"--camera={results[2]}")
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:" in done.stdout and "20 frames, " in done.stdout


@pytest.mark.slow
def test_a_face_whose_model_lacks_landmarks_is_followed_in_one_square():
    predict, image = mofa_jax.load_for_inference(), skimage.data.astronaut()
    model = predict.model.replace(landmarks=predict.model.landmarks.at[:17].set(-1))
    tracker = Tracker(dataclasses.replace(predict, model=model))
    first, second = (tracker.follow(image).crop.to_photograph for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_an_encoder_of_the_detectors_squares_gets_them_in_every_frame():
    predict, image = mofa_jax.load_for_inference(), skimage.data.astronaut()
    predict.config.data.crop, predict.config.data.augmentation.shift = "haar", 0.0
    tracker = Tracker(predict)
    tracker.follow(image)
    moved = cv2.warpAffine(image, np.array([[1.0, 0, 25], [0, 1, 10]]), image.shape[1::-1])
    square = crop_from_box(moved, FaceDetector().detect(moved)[0], 240).to_photograph
    followed = tracker.follow(moved).crop.to_photograph
    np.testing.assert_allclose(followed, square, atol=3)  # found in a smaller picture


@pytest.mark.slow
def test_a_live_picture_shows_the_face_and_how_fast_they_follow():
    image = skimage.data.astronaut()
    face = LiveFace(mofa_jax.load_for_inference())
    for k in range(4):
        picture = face.drawn(image, 0.1 * k)
    change = np.abs(picture.astype(float) - image).mean(axis=-1)
    assert change[80:150, 195:260].mean() > 5 and change[300:].max() == 0
    assert face.rate == pytest.approx(10)
    assert not face.drawn(np.zeros_like(image), 1.0).any()
