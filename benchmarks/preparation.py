"""Preparing a corpus: its speed beside its parts run alone, its memory at two sizes.

    python -m benchmarks.preparation --photographs=LFW --count=2000 --workers=2

The parts, one after another in one process: reading, the Haar detector, dlib's landmarks, cutting
out with its checks, JPEG. The preparation is the command as its users start it, start and report
included, with a quarter of the photographs and with all of them. Memory is the largest sum of the
resident sizes of all its processes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
from absl import app, flags

from mofa_jax.data.faces.crop import crop_from_box
from mofa_jax.data.faces.detectors import FaceDetector, make_landmark_detector
from mofa_jax.data.faces.find import cut_face
from mofa_jax.data.faces.quality import Pruning, check_picture
from mofa_jax.data.sources.images import encode_photograph, list_photographs, read_photograph

_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "A folder of photographs.", required=True)
_COUNT = flags.DEFINE_integer("count", 2000, "How many of them are prepared; 0 = all.")
_PARTS = flags.DEFINE_integer("parts", 300, "How many the parts are timed on.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes.")


def time_parts(paths: list[Path]) -> dict[str, float]:
    """Milliseconds a photograph of each part."""
    cv2.setNumThreads(1)
    detector, landmarks = FaceDetector(), make_landmark_detector("dlib")
    pruning = Pruning(min_sharpness=1e-9)
    times = dict.fromkeys(("reading", "detector", "landmarks", "cutting", "encoding"), 0.0)

    def timed(part, function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        times[part] += time.perf_counter() - start
        return result

    def cut(image, box, found):
        crop = crop_from_box(image, box)
        check_picture(crop.image, pruning)
        cut_face(crop, found)
        return crop.image

    for path in paths:
        image = timed("reading", read_photograph, path)
        for box in timed("detector", detector.detect, image):
            found = timed("landmarks", landmarks.detect, image, box)
            picture = timed("cutting", cut, image, box, found)
            timed("encoding", encode_photograph, picture, "jpeg", 95)
    return {part: 1000 * value / len(paths) for part, value in times.items()}


def prepare(paths: list[Path], workers: int) -> tuple[float, float]:
    """Seconds of a preparation of these photographs, and its memory, MiB."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "list.txt")
        listed.write_text("\n".join(str(path.absolute()) for path in paths))
        command = [
            *(sys.executable, "-m", "mofa_jax.prepare_corpus"),
            *("--config=configs/corpora/folder.py", f"--config.source.path=@{listed}"),
            *(f"--output={folder}/corpus", f"--num_workers={workers}"),
        ]
        start, most = time.perf_counter(), 0.0
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        while process.poll() is None:
            most = max(most, _group_memory(process.pid))
            time.sleep(0.2)
        if process.returncode:
            raise RuntimeError(f"the preparation ended with status {process.returncode}")
        return time.perf_counter() - start, most


def _group_memory(group: int) -> float:
    """Sum of the resident sizes, MiB, of the processes of a group."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):  # it has just ended
            continue
    return total / 2**20


def main(_) -> None:
    paths = list_photographs(_PHOTOGRAPHS.value)
    paths = paths[: _COUNT.value or len(paths)]
    step = max(1, len(paths) // _PARTS.value)
    parts = time_parts(paths[::step][: _PARTS.value])
    for part, value in parts.items():
        print(f"{part:10} {value:6.2f} ms a photograph")
    bound = sum(parts.values()) / _WORKERS.value / 1000
    print(f"sum of the parts on {_WORKERS.value} cores: {1 / bound:.1f} photographs/s")
    for count in (len(paths) // 4, len(paths)):
        seconds, memory = prepare(paths[:count], _WORKERS.value)
        print(
            f"preparing {count}: {seconds:.1f} s, {count / seconds:.1f} photographs/s, "
            f"{seconds / count / bound:.2f} times the sum of the parts, {memory:.0f} MiB"
        )


if __name__ == "__main__":
    app.run(main)
