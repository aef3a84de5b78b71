"""The page that tells what became of a corpus' photographs, with pictures."""

from __future__ import annotations

import csv
import heapq
import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from mofa_jax.data.corpora.recipe import Recipe
from mofa_jax.data.corpora.staging import Chunk, read_place
from mofa_jax.data.faces.quality import REASONS
from mofa_jax.data.sources.groups import group_rank
from mofa_jax.data.sources.images import decode_photograph, encode_photograph
from mofa_jax.files import atomic_write
from mofa_jax.pages import figure, page, paragraph, section, table

_NUM_KEPT, _NUM_PRUNED = 60, 40  # pictures on the page, of kept faces and of each reason
_BINS = 24
_SHOWN_SIZE = 120  # px, of a kept face
_MARK = (40, 230, 90)
_NUMBERS = ("landmarks", "confidence", "box")


class _Sample:
    """The few entries with the smallest hashes: a choice that no order changes."""

    def __init__(self, count: int):
        self._count, self._heap = count, []

    def add(self, name: str, content: Any) -> None:
        entry = (-group_rank(0, name), name, content)
        push = heapq.heappush if len(self._heap) < self._count else heapq.heappushpop
        push(self._heap, entry)

    def __iter__(self) -> Iterator[Any]:
        return (content for _, _, content in sorted(self._heap, key=lambda e: e[1]))


class _Statistics:
    """Everything that the page shows, gathered in one pass at a fixed memory."""

    def __init__(self):
        self.items = self.pictures = self.faces = 0
        self.reasons: Counter[str] = Counter()
        self.kept = _Sample(_NUM_KEPT)
        self.pruned = {reason: _Sample(_NUM_PRUNED) for reason in REASONS}
        self.sides: Counter[int] = Counter()
        self.confidences: Counter[int] = Counter()
        self.sums = np.zeros((3, 68, 2))  # weights, weighted sums and sums of squares

    def add_kept(self, kept: dict[str, Any], chunk: Chunk) -> None:
        self.faces += 1
        arrays = _arrays(read_place(chunk.blob, *kept["record"]))
        self.kept.add(kept["name"], (kept, chunk.blob))
        self.sides[int(np.log2(max(arrays["box"][2:].mean(), 1)) * 4)] += 1
        weight = (arrays["confidence"] > 0)[:, None].astype(float)
        if weight.any():
            self.confidences[int(arrays["confidence"].mean() * (_BINS - 1e-6))] += 1
        points = arrays["landmarks"].astype(float)
        self.sums += np.stack([weight * np.ones(2), weight * points, weight * points**2])

    def add_pruned(self, pruned: dict[str, Any], chunk: Chunk) -> None:
        self.reasons[pruned["reason"]] += 1
        self.pruned[pruned["reason"]].add(pruned["name"], (pruned, chunk.blob))


def write_report(
    output: Path,
    recipe: Recipe,
    counts: Mapping[str, int],
    outcomes: Iterable[tuple[Chunk, dict[str, Any]]],
) -> str:
    """Write report.html and left_out.csv, and return one sentence of the counts.

    Args:
      output: the folder that takes them.
      recipe: how the corpus was made.
      counts: how many faces each split has.
      outcomes: what became of every item, see `staging.all_outcomes`.
    """
    statistics = _Statistics()
    with (
        atomic_write(output / "left_out.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["name", "reason", "details"])
        for chunk, outcome in outcomes:
            statistics.items += 1
            statistics.pictures += outcome["num_pictures"]
            for kept in outcome["kept"]:
                statistics.add_kept(kept, chunk)
            for pruned in outcome["pruned"]:
                statistics.add_pruned(pruned, chunk)
                table.writerow([pruned["name"], pruned["reason"], pruned["details"]])
    with atomic_write(output / "report.html") as temporary:
        temporary.write_text(_page(statistics, recipe, counts), encoding="utf-8")
    left_out = sum(statistics.reasons.values())
    return (
        f"{statistics.items} {recipe.source.kind} read, {statistics.faces} faces kept "
        f"({', '.join(f'{count} {name}' for name, count in counts.items())}), "
        f"{left_out} left out"
    )


def _page(statistics: _Statistics, recipe: Recipe, counts: Mapping[str, int]) -> str:
    rows = [
        (f"{recipe.source.kind} read", statistics.items, ""),
        ("pictures searched", statistics.pictures, ""),
        ("faces kept", statistics.faces, ""),
        *((f"of these, {name}", count, "") for name, count in counts.items()),
        *((f"left out: {r}", statistics.reasons[r], REASONS[r]) for r in REASONS),
    ]
    kept = "".join(_kept_figure(entry, blob) for entry, blob in statistics.kept)
    sheets = (
        section(
            f"Left out: {reason} ({statistics.reasons[reason]:,})",
            *(_pruned_figure(*entry) for entry in statistics.pruned[reason]),
        )
        for reason in REASONS
        if statistics.reasons[reason]
    )
    return page(
        "mofa_faces",
        paragraph(f"From {recipe.source.path}."),
        table(rows),
        "<p>All that was left out is named in <a href=left_out.csv>left_out.csv</a>.</p>",
        section(
            "Statistics",
            _histogram("side of the box, px", _side_bars(statistics.sides)),
            _histogram("confidence of the landmarks", _confidence_bars(statistics.confidences)),
            _landmark_figure(statistics.sums, recipe.options.image_size),
        ),
        section("Kept", kept),
        *sheets,
    )


def _kept_figure(kept: dict[str, Any], blob: str) -> str:
    """A kept crop with its landmarks, small."""
    arrays = _arrays(read_place(blob, *kept["record"]))
    image = decode_photograph(arrays["image"], kept["name"])
    present = arrays["confidence"] > 0
    for x, y in np.round(4 * (arrays["landmarks"][present] - 0.5)).astype(int).tolist():
        cv2.circle(image, (x, y), 6, _MARK, -1, cv2.LINE_AA, shift=2)
    small = cv2.resize(image, (_SHOWN_SIZE, _SHOWN_SIZE), interpolation=cv2.INTER_AREA)
    return figure(encode_photograph(small, "jpeg", 80), kept["name"])


def _pruned_figure(pruned: dict[str, Any], blob: str) -> str:
    text = f"{pruned['name']} {pruned['details']}"
    if pruned["picture"] is None:
        return f"<div>{html.escape(text)}</div>"
    return figure(read_place(blob, *pruned["picture"]), text)


def _arrays(record: bytes) -> dict[str, Any]:
    """The image's file, landmarks [68, 2], confidence [68] and box [4] of a record."""
    stored = tf_example_pb2.Example.FromString(record).features.feature
    numbers = {key: np.array(stored[key].float_list.value) for key in _NUMBERS}
    image = stored["image"].bytes_list.value[0]
    return {**numbers, "landmarks": numbers["landmarks"].reshape(-1, 2), "image": image}


def _side_bars(counts: Counter[int]) -> list[tuple[str, int]]:
    """Quarter octaves."""
    keys = range(min(counts, default=0), max(counts, default=0) + 1)
    return [(f"{2 ** (key / 4):.0f}", counts[key]) for key in keys]


def _confidence_bars(counts: Counter[int]) -> list[tuple[str, int]]:
    return [(f"{key / _BINS:.2f}", counts[key]) for key in range(_BINS)]


def _histogram(title: str, bars: list[tuple[str, int]]) -> str:
    width, height, foot = 300, 130, 34
    step, most = width / max(len(bars), 1), max((count for _, count in bars), default=0) or 1
    drawn = "".join(
        f"<rect x='{k * step + 1:.1f}' y='{height - height * count / most:.1f}' "
        f"width='{step - 2:.1f}' height='{height * count / most:.1f}' fill='#4a7'>"
        f"<title>{label}: {count}</title></rect>"
        + (
            f"<text x='{k * step:.1f}' y='{height + 13}' font-size=10>{label}</text>"
            if k % max(1, len(bars) // 6) == 0
            else ""
        )
        for k, (label, count) in enumerate(bars)
    )
    return (
        f"<svg width={width} height={height + foot}>{drawn}"
        f"<text x=0 y={height + foot - 4} font-size=12>{title}</text></svg>"
    )


def _landmark_figure(sums: np.ndarray, size: int) -> str:
    """Mean and spread (one standard deviation) of the landmarks in the crop."""
    count = np.maximum(sums[0], 1)
    mean = sums[1] / count
    spread = np.sqrt(np.maximum(sums[2] / count - mean**2, 0))
    drawn = "".join(
        f"<ellipse cx='{x:.1f}' cy='{y:.1f}' rx='{a:.1f}' ry='{b:.1f}' fill='#4a73' stroke='#4a7'/>"
        for (x, y), (a, b), (n, _) in zip(mean, spread, sums[0], strict=True)
        if n > 0
    )
    label = f"<text x=4 y={size - 6} font-size=12>landmarks: mean, standard deviation</text>"
    return f"<svg width={size} height={size}>{drawn}{label}</svg>"
