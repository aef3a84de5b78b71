"""Whether reconstructions look like their people: LFW's verification pairs, view 2.

    python -m benchmarks.likeness --photographs=lfw --pairs=lfw_pairs.txt [--workdir=RUN]

Two photographs show one person if the cosine between their shape and reflectance codes, in standard
deviations and less the average of all, is above a threshold, which is chosen on nine folds and
applied to the tenth (Huang et al., "Labeled Faces in the Wild", 2007). The paper has 77 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import mofa_jax
from mofa_jax.data.sources.images import list_photographs, read_photograph
from mofa_jax.inference import Predictor

_CHUNK = 32  # photographs at once


def read_pairs(path: Path) -> list[tuple[int, bool, str, str]]:
    """(fold, whether one person, file stem, file stem) of LFW's pairs file."""
    lines = path.read_text().splitlines()
    folds, each = map(int, lines[0].split())
    pairs = []
    for i, line in enumerate(lines[1 : 1 + 2 * folds * each]):
        words = line.split()
        same = len(words) == 3
        first, second = (words[0], words[1]), (words[0 if same else 2], words[-1])
        stems = [f"{name}_{int(number):04d}" for name, number in (first, second)]
        pairs.append((i // (2 * each), same, *stems))
    return pairs


def codes_of(predict: Predictor, paths: list[Path]) -> dict[str, np.ndarray]:
    """Shape and reflectance [S + R] by file stem, of photographs with a face."""
    codes = {}
    for first in tqdm(range(0, len(paths), _CHUNK), unit="chunk", leave=False):
        chunk = paths[first : first + _CHUNK]
        found = predict.faces([read_photograph(path) for path in chunk])
        for path, faces in zip(chunk, found, strict=True):
            if faces:  # the one nearest to the middle is who the file is named after
                face = min(faces, key=lambda face: _from_middle(face.crop))
                code = np.concatenate([face.params.shape, face.params.reflectance])
                codes[path.stem] = code
    return codes


def _from_middle(crop) -> float:
    middle = crop.to_photograph[:, :2] @ np.array(crop.image.shape[:2]) / 2
    return float(np.linalg.norm(middle + crop.to_photograph[:, 2] - 125))  # LFW is 250 px wide


def accuracy(folds: np.ndarray, same: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each fold, with the threshold that is best on the others."""
    thresholds = np.unique(scores)
    rates = []
    for fold in np.unique(folds):
        rest = folds != fold
        right = [(same[rest] == (scores[rest] >= t)).mean() for t in thresholds]
        best = thresholds[int(np.argmax(right))]
        rates.append((same[~rest] == (scores[~rest] >= best)).mean())
    return np.array(rates)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder of LFW's files")
    parser.add_argument("--pairs", type=Path, required=True, help="LFW's pairs.txt")
    parser.add_argument("--workdir", help="of a run, instead of the encoder in the box")
    arguments = parser.parse_args(argv)
    pairs = read_pairs(arguments.pairs)
    stems = {stem for pair in pairs for stem in pair[2:]}
    paths = [path for path in list_photographs(arguments.photographs) if path.stem in stems]
    predict = mofa_jax.load_for_inference(arguments.workdir)
    codes = codes_of(predict, paths)
    center = np.mean(list(codes.values()), axis=0)
    units = {stem: (c - center) / np.linalg.norm(c - center) for stem, c in codes.items()}
    known = [pair for pair in pairs if pair[2] in units and pair[3] in units]
    folds, same = (np.array([pair[k] for pair in known]) for k in (0, 1))
    scores = np.array([units[a] @ units[b] for *_, a, b in known])
    rates = accuracy(folds, same, scores)
    error = rates.std(ddof=1) / np.sqrt(len(rates))
    print(f"{len(known)} of {len(pairs)} pairs: {100 * rates.mean():.1f} +- {100 * error:.1f} %")


if __name__ == "__main__":
    main()
