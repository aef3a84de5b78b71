"""A preparation on a Dask cluster, one worker killed half-way, beside the local one.

    python -m benchmarks.dask_preparation --photographs=LFW --count=300

Needs `pip install "apache-beam[dask]"`. Three worker processes of this machine are the cluster; one
is killed by SIGKILL when half of the pieces are staged. Ends with an error unless both corpora are
the same, byte for byte.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from absl import app, flags

from configs.corpora import folder as folder_config
from mofa_jax.data.corpora.prepare import prepare_corpus
from mofa_jax.data.sources import items
from mofa_jax.data.sources.images import list_photographs

_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "A folder of photographs.", required=True)
_COUNT = flags.DEFINE_integer("count", 300, "How many of them are prepared.")
_DETECTOR = flags.DEFINE_string("detector", "dlib", "Of landmarks.")


def kill_one(cluster, staging: Path, half: int, killed: list[int]) -> None:
    while len([*staging.glob("*.json")]) < half:
        time.sleep(0.02)
    pid = next(iter(cluster.workers.values())).pid
    os.kill(pid, signal.SIGKILL)
    killed.append(len([*staging.glob("*.json")]))


def main(_) -> None:
    from distributed import LocalCluster

    items.PICTURES_A_CHUNK = 8
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        paths = list_photographs(_PHOTOGRAPHS.value)[: _COUNT.value]
        (root / "list.txt").write_text("\n".join(str(path.absolute()) for path in paths))
        config = folder_config.get_config()
        config.source.path = f"@{root / 'list.txt'}"
        config.landmarks.detector = _DETECTOR.value
        local = prepare_corpus(config, root / "local", num_workers=1, progress=False)
        with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster:
            killed: list[int] = []
            num_pieces = len(items.chunks_of(paths, "photographs"))
            arguments = (cluster, root / "dask.staging", num_pieces // 2, killed)
            threading.Thread(target=kill_one, args=arguments, daemon=True).start()
            options = [
                "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
                f"--dask_client_address={cluster.scheduler_address}",
            ]
            dask = prepare_corpus(config, root / "dask", beam_options=options, progress=False)
        names = sorted(path.name for path in local.iterdir())
        same = names == sorted(path.name for path in dask.iterdir()) and all(
            (local / name).read_bytes() == (dask / name).read_bytes() for name in names
        )
        print(f"{len(paths)} photographs in {num_pieces} pieces; a worker killed after {killed}")
        print(f"{len(names)} files, {'byte for byte the same' if same else 'NOT the same'}")
        if not (same and killed):
            sys.exit(1)


if __name__ == "__main__":
    app.run(main)
