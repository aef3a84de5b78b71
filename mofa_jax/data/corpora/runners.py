"""What runs a function on pieces of work: threads, processes of this machine, or Apache Beam.

Each returns when all are done, and raises what the first failed piece raised. The pieces' results
are files: nothing comes back.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Any

Runner = Callable[[Callable[[Any], None], Sequence[Any]], None]


def threads(num_workers: int = 0) -> Runner:
    """Threads of this process; 0 = one a core."""
    return lambda work, pieces: _on_pool(ThreadPoolExecutor(num_workers or _cores()), work, pieces)


def processes(num_workers: int = 0) -> Runner:
    """Processes of this machine; 0 = one a core, 1 = this one."""
    num_workers = num_workers or _cores()

    def run(work: Callable[[Any], None], pieces: Sequence[Any]) -> None:
        if num_workers == 1:
            for piece in pieces:
                work(piece)
            return
        spawn = multiprocessing.get_context("spawn")
        _on_pool(ProcessPoolExecutor(num_workers, mp_context=spawn), work, pieces)

    return run


def beam(options: Sequence[str]) -> Runner:
    """A runner of Apache Beam, by its options, such as ["--runner=FlinkRunner"]."""

    def run(work: Callable[[Any], None], pieces: Sequence[Any]) -> None:
        # Beam warns at import that packages for Google's cloud are not installed; what goes wrong
        # reaches this process as an exception, and the traces of workers say it again.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions

        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            created = pipeline | apache_beam.Create(list(pieces))
            _ = created | apache_beam.Reshuffle() | apache_beam.Map(work)

    return run


def _cores() -> int:
    return os.cpu_count() or 1


def _on_pool(executor: Executor, work: Callable[[Any], None], pieces: Sequence[Any]) -> None:
    try:
        for future in as_completed([executor.submit(work, piece) for piece in pieces]):
            future.result()
    finally:
        executor.shutdown(cancel_futures=True)
