"""Seeded damage to a file's bytes, as disks, downloads and malice do it."""

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence

_EXTREMES = (0, -1, 2**31 - 1, 2**63 - 1)
_NUMBERS = (b"-1", b"0", b"1e999", b"nan", b"99999999999999999999", b"4294967296", b"x", b"")
_EDGE = 512  # bytes at either end where headers and tables of contents lie


def mutated(data: bytes, rng: random.Random, others: Sequence[bytes]) -> tuple[str, bytes]:
    """What was done, and the damaged file.

    Args:
      data: of the good file. Half of a zip archive's mutations are those of a member's content,
        with a checksum that fits.
      rng: the same state gives the same damage.
      others: contents of other files, parts of which may be put in.
    """
    if data.startswith(b"PK\x03\x04") and rng.random() < 0.5:
        return _inside_zip(data, rng, others)
    name = rng.choice(list(_MUTATIONS))
    return name, _MUTATIONS[name](data, rng, others)


def _inside_zip(data, rng, others):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen = rng.choice(list(members))
    name, members[chosen] = mutated(members[chosen], rng, others)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, value in members.items():
            archive.writestr(member, value)
    return f"{name} in {chosen}", content.getvalue()


def _place(data: bytes, rng: random.Random) -> int:
    """A position; half of them near an end."""
    size = max(len(data), 1)
    if rng.random() < 0.5:
        return rng.randrange(size)
    offset = rng.randrange(min(_EDGE, size))
    return offset if rng.random() < 0.5 else size - 1 - offset


def _slice(data: bytes, rng: random.Random) -> slice:
    start = _place(data, rng)
    return slice(start, start + rng.choice((1, 4, 16, 256, 4096)))


def _replaced(data: bytes, where: slice, value: bytes) -> bytes:
    return data[: where.start] + value + data[where.stop :]


def _flip_bits(data, rng, others):
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 4, 32))):
        out[_place(out, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _set_bytes(data, rng, others):
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 4, 16))):
        out[_place(out, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(out)


def _truncate(data, rng, others):
    return data[: _place(data, rng)]


def _delete(data, rng, others):
    return _replaced(data, _slice(data, rng), b"")


def _duplicate(data, rng, others):
    where = _slice(data, rng)
    return _replaced(data, where, 2 * data[where])


def _zero(data, rng, others):
    where = _slice(data, rng)
    return _replaced(data, where, bytes(len(data[where])))


def _insert(data, rng, others):
    start = _place(data, rng)
    return _replaced(data, slice(start, start), rng.randbytes(rng.choice((1, 4, 64, 1000))))


def _extreme_number(data, rng, others):
    """A number of 4 or 8 bytes, at a place that is a multiple of 4 half of the time."""
    start = _place(data, rng)
    start -= (start % 4) * rng.randrange(2)
    size, value = rng.choice((4, 8)), rng.choice(_EXTREMES)
    value = struct.pack("<q" if rng.random() < 0.7 else ">q", value)
    value = value[:size] if value[-1] in (0, 0xFF) or size == 8 else value[-size:]
    return _replaced(data, slice(start, start + size), value)


def _other_number(data, rng, others):
    """A number in text; the file may have none."""
    found = list(re.finditer(rb"-?\d[\d.eE+-]*", data[:100_000]))
    if not found:
        return _set_bytes(data, rng, others)
    match = rng.choice(found)
    return _replaced(data, slice(*match.span()), rng.choice(_NUMBERS))


def _splice(data, rng, others):
    other = rng.choice(others)
    return _replaced(data, _slice(data, rng), other[_slice(other, rng)])


def _exchange(data, rng, others):
    """Another file's content under this file's name."""
    return rng.choice(others)


def _empty(data, rng, others):
    return b""


_MUTATIONS: dict[str, Callable] = {
    "bits flipped": _flip_bits,
    "bytes set": _set_bytes,
    "cut short": _truncate,
    "slice deleted": _delete,
    "slice doubled": _duplicate,
    "slice zeroed": _zero,
    "bytes inserted": _insert,
    "extreme number": _extreme_number,
    "other number in text": _other_number,
    "slice of another file": _splice,
    "another file": _exchange,
    "empty": _empty,
}
