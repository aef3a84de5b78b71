"""The error of everything that reads pretrained weights."""

from pathlib import Path

from mofa_jax.errors import InputError


class PretrainedWeightsError(InputError):
    """A file of pretrained weights that cannot be used; one sentence says why and what to do."""


def refuse(path: str | Path, expected: str, found: str, mend: str) -> PretrainedWeightsError:
    """The error for the file `path`: what was expected, what was found, and the fix."""
    return PretrainedWeightsError(f"{path}: expected {expected}, but found {found}; {mend}.")


def damaged(path: str | Path, expected: str, found: str) -> PretrainedWeightsError:
    """The error for a file that is cut short or corrupt."""
    return refuse(path, expected, found, "the file is cut short or damaged, so download it again")
