"""Whether reconstructions look like their people: LFW's verification pairs, view 2.

    python -m benchmarks.likeness --photographs=lfw --pairs=lfw_pairs.txt [--workdir=RUN]

Two photographs show one person if the cosine between their shape and reflectance codes, in standard
deviations and less the average of all, is above a threshold, which is chosen on nine folds and
applied to the tenth (Huang et al., "Labeled Faces in the Wild", 2007). The paper has 77 %.

Besides shape alone and reflectance alone, a weighted cosine is printed: codes are first divided by
how much they vary within a person (within-class covariance normalization, Hatch et al. 2006,
"Within-class covariance normalization for SVM-based speaker recognition"), learned on nine folds.
With --refine=10 --each=60 the faces of a fifth of the pairs are fitted as well: what the model
could tell apart if the encoder were perfect.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import mofa_jax
from mofa_jax.data.sources.images import list_photographs, read_photograph
from mofa_jax.files.writing import write_json
from mofa_jax.inference import Predictor
from mofa_jax.provenance import provenance

_CHUNK = 32  # photographs at once
_PAIR = ("first", "second")
_SHRINKAGE = 0.1  # of a covariance towards its average variance


class Pair(NamedTuple):
    """Two photographs by their files' stems, and whether they show one person.

    number: counted within the fold, for either kind of pair.
    """

    fold: int
    number: int
    same: bool
    first: str
    second: str


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of LFW's pairs file."""
    lines = path.read_text().splitlines()
    folds, each = map(int, lines[0].split())
    pairs = []
    for i, line in enumerate(lines[1 : 1 + 2 * folds * each]):
        words = line.split()
        same = len(words) == 3
        first, second = (words[0], words[1]), (words[0 if same else 2], words[-1])
        stems = [f"{name}_{int(number):04d}" for name, number in (first, second)]
        pairs.append(Pair(i // (2 * each), i % each, same, *stems))
    return pairs


def codes_of(predict: Predictor, paths: list[Path], refine: int) -> dict[str, np.ndarray]:
    """Shape and reflectance [S + R] by file stem, of photographs with a face."""
    codes = {}
    for first in tqdm(range(0, len(paths), _CHUNK), unit="chunk", leave=False):
        chunk = paths[first : first + _CHUNK]
        found = predict.faces([read_photograph(path) for path in chunk], refine)
        for path, faces in zip(chunk, found, strict=True):
            if faces:  # the one nearest to the middle is who the file is named after
                face = min(faces, key=lambda face: _from_middle(face.crop))
                code = np.concatenate([face.params.shape, face.params.reflectance])
                codes[path.stem] = code
    return codes


def _from_middle(crop) -> float:
    middle = crop.to_photograph[:, :2] @ np.array(crop.image.shape[:2]) / 2
    return float(np.linalg.norm(middle + crop.to_photograph[:, 2] - 125))  # LFW is 250 px wide


def rates(folds: np.ndarray, same: np.ndarray, first: np.ndarray, second: np.ndarray, whiten: bool):
    """The rate of right answers in each fold, of pairs of codes [P, K].

    Args:
      folds: [P], the fold of each pair.
      same: [P] bool, whether it shows one person.
      first, second: [P, K], the pair's codes less the average of all.
      whiten: whether codes are divided by their spread within a person first.
    """
    found = []
    for fold in np.unique(folds):
        rest = folds != fold
        a, b = first, second
        if whiten:
            turn = _within_person(first[rest & same] - second[rest & same])
            a, b = a @ turn, b @ turn
        scores = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        best = _best_threshold(scores[rest], same[rest])
        found.append((same[~rest] == (scores[~rest] >= best)).mean())
    return np.array(found)


def _within_person(differences: np.ndarray) -> np.ndarray:
    """[K, K], a matrix after which differences [P, K] within a person have unit covariance."""
    covariance = differences.T @ differences / len(differences)
    covariance += _SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.inv(np.linalg.cholesky(covariance)).T


def _best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The score from which on pairs are called the same with the fewest errors."""
    order = np.argsort(scores)
    errors = np.cumsum(same[order]) + np.sum(~same) - np.cumsum(~same[order])  # threshold above k
    best = int(np.argmin(errors))
    return float(scores[order[min(best + 1, len(order) - 1)]])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder of LFW's files")
    parser.add_argument("--pairs", type=Path, required=True, help="LFW's pairs.txt")
    parser.add_argument("--workdir", help="of a run, instead of the bundled encoder")
    parser.add_argument("--refine", type=int, default=0, help="steps of mofa_jax.fit a face")
    parser.add_argument("--each", type=int, default=300, help="pairs of each fold and kind")
    parser.add_argument("--output", type=Path, help="JSON file of the numbers")
    arguments = parser.parse_args(argv)
    pairs = [p for p in read_pairs(arguments.pairs) if p.number < arguments.each]
    stems = {stem for pair in pairs for stem in (pair.first, pair.second)}
    paths = [path for path in list_photographs(arguments.photographs) if path.stem in stems]
    predict = mofa_jax.load_for_inference(arguments.workdir)
    codes = codes_of(predict, paths, arguments.refine)
    known = [pair for pair in pairs if pair.first in codes and pair.second in codes]
    print(f"{len(known)} of {len(pairs)} pairs, --refine={arguments.refine}")
    center = np.mean(list(codes.values()), axis=0)
    first, second = (np.stack([codes[getattr(p, k)] for p in known]) - center for k in _PAIR)
    folds, same = (np.array([getattr(pair, k) for pair in known]) for k in ("fold", "same"))
    num_shape, rows = predict.model.code_sizes[0], {}
    for name, part, whiten in (
        ("shape and reflectance", slice(None), False),
        ("shape", slice(num_shape), False),
        ("reflectance", slice(num_shape, None), False),
        ("shape and reflectance, weighted", slice(None), True),
    ):
        found = 100 * rates(folds, same, first[:, part], second[:, part], whiten)
        error = found.std(ddof=1) / np.sqrt(len(found))
        print(f"{name}: {found.mean():.1f} +- {error:.1f} %")
        rows[name] = {"verified": float(found.mean()), "standard_error": float(error)}
    if arguments.output:
        write_json(arguments.output, {**provenance(), "pairs": len(known), "rows": rows})


if __name__ == "__main__":
    main()
