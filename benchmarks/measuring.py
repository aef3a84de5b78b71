"""What benchmarks share: times in turns and in processes of their own, exponents, tables, files."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mofa_jax.files.writing import write_json
from mofa_jax.provenance import provenance

_LARGE_END = 3  # points that an exponent is fitted to


def alternate(functions: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median milliseconds of each function, called in turn."""
    times = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def milliseconds(function: Callable[[], object], runs: int) -> float:
    """Median time of a call, after two that compile and warm up."""
    for _ in range(2):
        function()
    return alternate({"": function}, runs)[""]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of the logarithm of the cost over that of the size, at the three largest sizes."""
    large = np.argsort(sizes)[-_LARGE_END:]
    x, y = np.log(np.asarray(sizes, float)[large]), np.log(np.asarray(costs, float)[large])
    return float(np.polyfit(x, y, 1)[0])


def in_a_process(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Any:
    """What `python -m module` prints as its last line, JSON.

    Args:
      module: of Python.
      arguments: of the command.
      environment: what its environment has besides this one's.

    Raises:
      RuntimeError: it failed; with the end of what it wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table in Markdown; the rows have the same keys."""
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(map(_cell, row.values()))} |")
    print(flush=True)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def save(path: str | os.PathLike[str], tables: Mapping[str, Any]) -> None:
    """The numbers as JSON, with the command, the commit, the versions and the hardware."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**provenance(), **tables})
