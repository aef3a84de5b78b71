"""The console commands of an installed package: each runs a module as `python -m` does."""

import functools
import os
import runpy
import sys


def _run(module: str) -> None:
    runpy.run_module(f"mofa_jax.{module}", run_name="__main__", alter_sys=True)


def _find_configs() -> None:
    """A config imports its neighbors, such as `configs.default`, from the working directory."""
    sys.path.append(os.getcwd())


reconstruct = functools.partial(_run, "reconstruct")
edit = functools.partial(_run, "edit")
report = functools.partial(_run, "report")
viewer = functools.partial(_run, "viewer")
doctor = functools.partial(_run, "doctor")
evaluate = functools.partial(_run, "evaluate")
export_benchmark = functools.partial(_run, "export_benchmark")
import_model = functools.partial(_run, "import_model")


def prepare_corpus() -> None:
    _find_configs()
    _run("prepare_corpus")


def render_corpus() -> None:
    _find_configs()
    _run("render_corpus")
