"""Who is held out for evaluation: a rule that order, workers and later additions cannot change."""

import hashlib


def group_rank(seed: int, group: str) -> float:
    """The place of a group (a person, a clip) in [0, 1): a hash of the seed and its name.

    The groups below a threshold are held out, so that adding photographs moves no group.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
