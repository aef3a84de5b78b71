"""Damaged files of every kind end in one of the project's errors or are read, soon and in little
memory; a damaged checkpoint never gives other weights."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_readers import READERS, files_of
from mutations import mutated
from read_damaged import GOOD, MAX_SECONDS

_WORKER = Path(__file__).with_name("read_damaged.py")


def test_there_are_more_than_two_thousand_damaged_files():
    assert sum(reader.count for reader in READERS.values()) > 2000


def test_a_seed_gives_the_same_damage_again():
    data, others = bytes(range(256)) * 20, [b"other" * 100]
    first = [mutated(data, random.Random(seed), others) for seed in range(200)]
    assert first == [mutated(data, random.Random(seed), others) for seed in range(200)]
    assert len({content for _, content in first} - {data}) > 150


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name, tmp_path):
    if name == "PyTorch":
        pytest.importorskip("torch")
    reader, folder, log = READERS[name], tmp_path / "files", tmp_path / "log"
    folder.mkdir()
    reader.write(folder)
    assert any(files_of(folder))
    command = [sys.executable, str(_WORKER), name, str(folder), str(log), "0", str(reader.count)]
    limit = 60 + MAX_SECONDS * reader.count
    environment = os.environ | {"PYTHONPATH": str(_WORKER.parents[1])}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=limit, errors="replace"
    )
    lines = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
    faults = [line for line in lines if line[-1] not in GOOD]
    ended = f"{name}: exit status {done.returncode}\n{done.stderr[-3000:]}"
    assert not faults, f"{name}, seeds: {faults}\n{ended}"
    assert done.returncode == 0 and len(lines) == reader.count, ended
    assert any(line[-1] == "refused" for line in lines)
