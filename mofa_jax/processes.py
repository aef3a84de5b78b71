"""What a run asks of the operating system: several processes, and a signal to stop."""

import logging
import os
import signal

import jax

_logger = logging.getLogger(__name__)


def initialize_processes() -> None:
    """Joins the other processes of a run, when the environment says that there are any.

    JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID name them; under Slurm
    or Open MPI with several tasks JAX finds them itself.
    """
    if jax.distributed.is_initialized():
        return
    environment = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environment and "JAX_NUM_PROCESSES" in environment:
        jax.distributed.initialize(
            environment["JAX_COORDINATOR_ADDRESS"],
            int(environment["JAX_NUM_PROCESSES"]),
            int(environment["JAX_PROCESS_ID"]),
        )
    elif max(int(environment.get(key, 1)) for key in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")) > 1:
        jax.distributed.initialize()


class StopSignal:
    """Notes SIGTERM and SIGINT, so that the loop can save and leave; a second SIGINT ends at once."""

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
