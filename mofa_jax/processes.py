"""What a run asks of the operating system: several processes, a signal to stop, a quiet log."""

import importlib.util
import logging
import os
import platform
import signal
import sys
from pathlib import Path

import jax
import numpy as np
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from mofa_jax.errors import InputError

_CACHE_BYTES = 1_000_000_000
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # in the environment, for malloc
_logger = logging.getLogger(__name__)


def configure_logging() -> None:
    """This package's messages on the terminal, and only the warnings of the others."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("mofa_jax").setLevel(logging.INFO)


def use_huge_pages() -> None:
    """Starts this program once more, with a malloc that asks Linux for huge pages.

    Every step takes its memory anew, and in small pages that costs as much as AlexNet's arithmetic.
    glibc reads the setting only when a program starts. Nothing happens where GLIBC_TUNABLES is set
    already, or where the system gives huge pages to all or to nobody.
    """
    allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if "GLIBC_TUNABLES" in os.environ or platform.libc_ver()[0] != "glibc":
        return
    if allowed.is_file() and "[madvise]" in allowed.read_text():
        environment = {**os.environ, **HUGE_PAGES}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def keep_compiled_programs() -> None:
    """Compiles for a CPU in half the time, and keeps what is compiled in the user's cache folder.

    Call it before anything is computed. The folder grows to 1 GB; what was used longest ago goes
    first. JAX_COMPILATION_CACHE_DIR in the environment names another folder.
    """
    _compile_sooner()
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mofa_jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _logger.info("Compiled programs are not kept: %s.", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _compile_sooner() -> None:
    """LLVM's optimization at level 2 instead of 3: the programs are as fast. Where a plugin may
    bring an accelerator, and where XLA_FLAGS names a level, nothing is changed."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" in flags or importlib.util.find_spec("jax_plugins"):
        return
    os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=2".strip()


_NUM_TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # set by srun, by mpirun


def initialize_processes() -> None:
    """Joins the other processes of a run, when the environment says that there are any.

    JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID name them; under Slurm
    (`srun`) or Open MPI with several tasks JAX finds them itself.

    Raises:
      InputError: a process is given no number.
    """
    if jax.distributed.is_initialized():
        return
    environment = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environment and "JAX_NUM_PROCESSES" in environment:
        number = environment.get("JAX_PROCESS_ID", "")
        if not number.isdigit():
            raise InputError(
                f"JAX_PROCESS_ID is {number!r}; give each process its number, from 0 to "
                f"{environment['JAX_NUM_PROCESSES']} - 1."
            )
        jax.distributed.initialize(
            environment["JAX_COORDINATOR_ADDRESS"],
            int(environment["JAX_NUM_PROCESSES"]),
            int(number),
        )
    elif max(int(environment.get(key, 1)) for key in _NUM_TASKS) > 1:
        jax.distributed.initialize()


def agree(flags: list[bool], step: int, period: int) -> list[bool]:
    """Each flag, or whether any process has raised it: all processes must do the same at a step.

    With several processes they ask each other every `period` steps only, and else say no.
    """
    if jax.process_count() == 1:
        return flags
    if step % period:
        return [False] * len(flags)
    return multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist()


STOPPED = 128 + signal.SIGTERM  # exit status, as a shell's, of a training that was stopped


class StopSignal:
    """Notes SIGTERM and SIGINT, so that the loop can save and leave; a second SIGINT ends it."""

    def __init__(self):
        self.requested = False
        self._previous = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread: a notebook's or a test's
                _logger.debug("No signal handling outside the main thread.")
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
