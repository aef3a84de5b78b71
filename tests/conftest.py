"""Strict JAX settings for all tests, several simulated devices, and the fixtures they share."""

import gc
import os
import tempfile
from pathlib import Path

import jaxlib

# Tests compile much and compute little: no optimization, and no program compiled twice.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("GLIBC_TUNABLES", "")  # main.py starts once instead of twice
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        "--xla_backend_optimization_level=0",
        # XLA's older code for fused operations is compiled in less than half the time. jaxlib 0.12
        # has none, and XLA ends the process at a flag that it does not know.
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        if jaxlib.__version__.startswith("0.10.")
        else "",
    ]
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="mofa_jax_tests_"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
import pytest

import mofa_jax
from mofa_jax.face_model import face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.set_threshold(50_000)  # JAX's programs are many objects, and looking through them takes long

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the development data ../shared/data is not here")
    return SHARED


@pytest.fixture(scope="session")
def ict_model(shared: Path) -> mofa_jax.FaceModel:
    """A real face model: ICT-FaceKit with 27,031 vertices."""
    return mofa_jax.load_face_model(shared / "data" / "face_models" / "ict.npz")


@pytest.fixture(scope="session", params=["open", pytest.param("ict", marks=pytest.mark.slow)])
def real_model(request) -> mofa_jax.FaceModel:
    """The built-in face model with 25,539 vertices and, where it is at hand, ICT-FaceKit's."""
    if request.param == "ict":
        return request.getfixturevalue("ict_model")
    return mofa_jax.load_face_model("open")


@pytest.fixture(scope="session")
def tiny_model() -> mofa_jax.FaceModel:
    """The analytic face with few vertices and modes."""
    arrays = analytic_face(resolution=17, num_shape=5, num_expression=4, num_reflectance=3)
    return face_model_from_arrays(arrays, "tiny analytic face")


@pytest.fixture(scope="session")
def model_file(tiny_model, tmp_path_factory):
    """The tiny model's file."""
    path = tmp_path_factory.mktemp("model") / "tiny.npz"
    tiny_model.save(path)
    return path


@pytest.fixture
def float64():
    """Computes in double precision for the duration of a test."""
    with jax.enable_x64(True):
        yield
