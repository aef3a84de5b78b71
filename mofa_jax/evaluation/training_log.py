"""The evaluations that a run has logged, read back from TensorBoard's files."""

import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboardX.proto import event_pb2

EVALUATION = "eval"  # TensorBoard's group of the held-out errors


def logged_evaluations(workdir: str | os.PathLike[str]) -> dict[str, dict[int, float]]:
    """What a run has logged of its evaluations: by error, its value by step, in their order.

    Of a step that was evaluated twice the later value counts. A file that ends in the middle of an
    event, as that of a running or a killed process, counts up to there.
    """
    found: dict[str, dict[int, float]] = {}
    for path in sorted(Path(workdir).glob("events.out.tfevents.*")):
        for event in _events(path.read_bytes()):
            for value in event.summary.value:
                group, _, key = value.tag.partition("/")
                if group == EVALUATION and value.HasField("simple_value"):
                    found.setdefault(key, {})[event.step] = value.simple_value
    return {key: dict(sorted(values.items())) for key, values in found.items()}


def _events(content: bytes) -> Iterator[event_pb2.Event]:
    """The events of a TensorBoard file: each its length (8 bytes), 4 bytes, itself, 4 bytes."""
    place = 0
    while place + 12 <= len(content):
        start = place + 12
        end = start + int.from_bytes(content[place : place + 8], "little")
        if end + 4 > len(content):
            return
        try:
            yield event_pb2.Event.FromString(content[start:end])
        except DecodeError:
            return
        place = end + 4
