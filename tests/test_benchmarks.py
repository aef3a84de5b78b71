"""The benchmarks by their commands, in their smallest form: tables, files, warnings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measuring import exponent, in_a_process

ROOT = Path(__file__).resolve().parents[1]


def run(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_an_exponent_is_that_of_the_large_end():
    sizes = np.array([1, 2, 4, 8, 16])
    assert exponent(sizes, 7 + 0 * sizes) == pytest.approx(0)
    assert exponent(sizes, [99, 98, *sizes[2:] ** 2]) == pytest.approx(2)
    assert exponent(sizes[::-1], 3.0 * sizes[::-1] ** 1.5) == pytest.approx(1.5)


def test_a_process_that_fails_is_an_error_with_what_it_wrote():
    with pytest.raises(RuntimeError, match="No module named"):
        in_a_process("benchmarks.nothing", [])


@pytest.mark.slow
def test_rasterizer_beside_deodr(tmp_path):
    pytest.importorskip("deodr", reason="the rival is not installed")
    file = tmp_path / "numbers.json"
    sizes = ["--sides=64,128,192", "--resolutions=10,20,30", "--runs=1"]
    table = run("rasterizer", *sizes, f"--output={file}")
    assert "DEODR, ms" in table
    numbers = json.loads(file.read_text())
    assert [row["IoU"] > 0.999 for row in numbers["rivals"]] == [True] * 3
    assert {"command", "hardware", "versions", "commit"} <= numbers.keys()


@pytest.mark.slow
@pytest.mark.parametrize("row", ["modes:56", "step_memory:compact"])
def test_a_row_of_scaling(row):
    numbers = json.loads(run("scaling", f"--row={row}", "--runs=1").splitlines()[-1])
    if row == "step_memory:compact":  # all of the state's memory is used again
        assert numbers["donated, of the state"] == pytest.approx(1, abs=1e-3)
    else:
        assert min(numbers["ms"], numbers["program, MB"]) > 0


@pytest.mark.slow
def test_ratios_are_written_and_compared(tmp_path):
    file = tmp_path / "ratios.json"
    run("compare_ratios", "--runs=1", "--update", f"--file={file}")
    ratios = json.loads(file.read_text())["ratios"]
    first, *rest = ratios
    stored = {first: 1e-6, **dict.fromkeys(rest, 1e6)}  # much slower, much faster
    file.write_text(json.dumps({"ratios": stored}))
    told = run("compare_ratios", "--runs=1", f"--file={file}")
    assert told.count("warning:") == 1
    assert f"warning: {first} takes" in told
