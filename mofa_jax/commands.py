"""The console commands of an installed package: each runs a module as `python -m` does."""

import os
import runpy
import sys


def reconstruct() -> None:
    runpy.run_module("mofa_jax.reconstruct", run_name="__main__", alter_sys=True)


def edit() -> None:
    runpy.run_module("mofa_jax.edit", run_name="__main__", alter_sys=True)


def report() -> None:
    runpy.run_module("mofa_jax.report", run_name="__main__", alter_sys=True)


def viewer() -> None:
    runpy.run_module("mofa_jax.viewer", run_name="__main__", alter_sys=True)


def doctor() -> None:
    runpy.run_module("mofa_jax.doctor", run_name="__main__", alter_sys=True)


def evaluate() -> None:
    runpy.run_module("mofa_jax.evaluate", run_name="__main__", alter_sys=True)


def export_benchmark() -> None:
    runpy.run_module("mofa_jax.export_benchmark", run_name="__main__", alter_sys=True)


def import_model() -> None:
    runpy.run_module("mofa_jax.import_model", run_name="__main__", alter_sys=True)


def prepare_corpus() -> None:
    _find_configs()
    runpy.run_module("mofa_jax.prepare_corpus", run_name="__main__", alter_sys=True)


def render_corpus() -> None:
    _find_configs()
    runpy.run_module("mofa_jax.render_corpus", run_name="__main__", alter_sys=True)


def _find_configs() -> None:
    """A config imports its neighbors, such as `configs.default`, from the working directory."""
    sys.path.append(os.getcwd())
