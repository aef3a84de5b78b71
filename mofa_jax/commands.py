"""The console commands of an installed package: each runs a module as `python -m` does."""

import os
import runpy
import sys


def reconstruct() -> None:
    _run("reconstruct")


def edit() -> None:
    _run("edit")


def report() -> None:
    _run("report")


def viewer() -> None:
    _run("viewer")


def doctor() -> None:
    _run("doctor")


def evaluate() -> None:
    _run("evaluate")


def export_benchmark() -> None:
    _run("export_benchmark")


def import_model() -> None:
    _run("import_model")


def prepare_corpus() -> None:
    _find_configs()
    _run("prepare_corpus")


def render_corpus() -> None:
    _find_configs()
    _run("render_corpus")


def _run(module: str) -> None:
    runpy.run_module(f"mofa_jax.{module}", run_name="__main__", alter_sys=True)


def _find_configs() -> None:
    """A config imports its neighbors, such as `configs.default`, from the working directory."""
    sys.path.append(os.getcwd())
