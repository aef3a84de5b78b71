"""Who is held out for evaluation: a rule that order, workers and later additions cannot change."""

import hashlib
import re
from collections.abc import Callable

from mofa_jax.errors import InputError


def group_finder(pattern: str) -> Callable[[str, str], str]:
    """(text, otherwise) -> who a photograph shows: what the expression finds in the text.

    Args:
      pattern: a regular expression with one group; "" always gives `otherwise`.

    Raises:
      InputError: it is not one.
    """
    if not pattern:
        return lambda text, otherwise: otherwise
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"group_pattern {pattern!r} is no regular expression: {error}; such as r'(.+)_\\d+'"
        ) from error
    if expression.groups != 1:
        raise InputError(
            f"group_pattern {pattern!r} has {expression.groups} groups; it needs exactly one, "
            r"such as r'(.+)_\d+'"
        )

    def find(text: str, otherwise: str) -> str:
        match = expression.search(text)
        return match[1] if match and match[1] is not None else otherwise

    return find


def group_rank(seed: int, group: str) -> float:
    """The place of a group (a person, a clip) in [0, 1): a hash of the seed and its name.

    The groups below a threshold are held out, so that adding photographs moves no group.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
