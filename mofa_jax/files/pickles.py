"""A look at a pickle before it is read: what it would allocate."""

import pickletools
from typing import BinaryIO


def check_places(stream: BinaryIO) -> None:
    """Refuses a pickle that keeps values at places far apart: a table is allocated up to there.

    Args:
      stream: at the pickle's start, where it is afterwards, too.

    Raises:
      ValueError: such a pickle, or one that is damaged.
    """
    start = stream.tell()
    for count, (opcode, place, _) in enumerate(pickletools.genops(stream)):
        if opcode.name.endswith("PUT") and place > count:
            raise ValueError(f"value {count} is kept at place {place}")
    stream.seek(start)
