"""Two processes on this machine against one."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from one_of_two_processes import first_gradient

from configs import compact
from mofa_jax.errors import InputError
from mofa_jax.files.writing import atomic_write, only_process
from mofa_jax.inference import load_for_inference
from mofa_jax.processes import (
    StopSignal,
    agree,
    initialize_processes,
    keep_compiled_programs,
)

ROOT = Path(__file__).resolve().parents[1]


def run_processes(arguments, count):
    """Runs the same command as `count` processes that find each other; returns their outputs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**environment, "JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return outputs


@pytest.mark.slow
def test_a_program_is_started_again_with_huge_pages_and_the_same_arguments(tmp_path):
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.is_file() or "[madvise]" not in enabled.read_text():
        pytest.skip("this system gives huge pages to all or to nobody")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nfrom mofa_jax.processes import use_huge_pages\n"
        "use_huge_pages()\nprint(os.environ.get('GLIBC_TUNABLES'), sys.argv[1:])\n"
    )
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    for given, expected in ((None, "glibc.malloc.hugetlb=1"), ("x.y=1", "x.y=1")):
        environment.pop("GLIBC_TUNABLES", None)
        environment |= {} if given is None else {"GLIBC_TUNABLES": given}
        command = [sys.executable, str(script), "--a=b c", "d"]
        output = subprocess.check_output(command, env=environment, text=True)
        assert output.strip() == f"{expected} ['--a=b c', 'd']"


@pytest.mark.slow
def test_a_level_of_optimization_that_the_user_names_stays(monkeypatch):
    level = "--xla_backend_optimization_level"
    for given, expected in (("--a=1", f"--a=1 {level}=2"), ("", f"{level}=2"), (f"{level}=3",) * 2):
        monkeypatch.setenv("XLA_FLAGS", given)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no accelerator
        keep_compiled_programs()
        assert os.environ["XLA_FLAGS"] == expected


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one_and_train(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "tiny.npz")
    config = compact.get_config()
    config.face_model, config.data.kind = str(tmp_path / "tiny.npz"), "synthetic"
    config.batch_size, config.num_steps, config.data.num_eval = 4, 2, 4
    config.log_every, config.optimizer.warmup_steps = 1, 0
    config.encoder.widths, config.encoder.num_hidden = [8, 8, 16, 16, 16], 32
    config.camera.image_size = 120
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(config.to_dict()))
    script = Path(__file__).with_name("one_of_two_processes.py")
    run_processes([str(script), str(settings), str(tmp_path / "gradient.npz")], 2)
    with pytest.MonkeyPatch.context() as patch:
        devices, pmap = jax.local_devices()[:1], jax.pmap
        patch.setattr(jax, "local_device_count", lambda: 1)
        patch.setattr(jax, "local_devices", lambda: devices)
        patch.setattr(jax, "pmap", lambda *a, **k: pmap(*a, devices=devices, **k))
        one = first_gradient(config, tmp_path)
    with np.load(tmp_path / "gradient.npz") as two:
        for a, b in zip(two.values(), one, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-3))
    assert load_for_inference(tmp_path / "run").step == 2


def test_a_process_without_its_number_is_told_so(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(InputError, match="JAX_PROCESS_ID is ''; give each process its number"):
        initialize_processes()


def test_an_allocation_of_several_tasks_is_no_job_of_several_processes(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")  # of sbatch; srun counts the tasks of its step
    monkeypatch.setattr(jax.distributed, "initialize", lambda: pytest.fail("joined"))
    initialize_processes()


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_the_tasks_of_srun_and_mpirun_join(monkeypatch, variable):
    joined = []
    monkeypatch.setenv(variable, "2")
    monkeypatch.setattr(jax.distributed, "initialize", lambda: joined.append(True))
    initialize_processes()
    assert joined


def test_one_process_agrees_with_itself_at_every_step():
    assert agree([True, False], step=3, period=20) == [True, False]


def test_stop_signal_is_noted_once_and_handlers_are_put_back():
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_killed_process_left_half_written_goes_with_the_next_one(tmp_path):
    killed = f"""
import os, signal
from mofa_jax.files.writing import atomic_write, only_process
with only_process({str(tmp_path)!r}), atomic_write({str(tmp_path / "a.mp4")!r}) as temporary:
    temporary.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False)
    assert [*tmp_path.glob(".*.tmp")]
    (tmp_path / ".draft.tmp").touch()  # nobody's but the user's
    with only_process(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".draft.tmp"]


def test_where_files_cannot_be_locked_nobody_is_refused(tmp_path, monkeypatch):
    with only_process(tmp_path):
        with pytest.raises(InputError, match="another process is at work here"):
            only_process(tmp_path).__enter__()

        def unknown(*_):
            raise OSError(errno.ENOTSUP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", unknown)
        with atomic_write(tmp_path / "of the first") as half_written:
            half_written.touch()
            with only_process(tmp_path):
                pass
    assert [path.name for path in tmp_path.iterdir()] == ["of the first"]
