"""The page that tells what became of a corpus' photographs, with pictures."""

from __future__ import annotations

import csv
import heapq
import html
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tensorflow_datasets.core.example_parser import ExampleParserNp

from mofa_jax.data.corpora.recipe import Recipe
from mofa_jax.data.corpora.record import corpus_features, record_parser
from mofa_jax.data.corpora.staging import Outcome, read_place
from mofa_jax.data.faces.quality import REASONS
from mofa_jax.data.sources.images import decode_photograph, encode_photograph
from mofa_jax.data.sources.items import group_rank
from mofa_jax.files.writing import atomic_write
from mofa_jax.pages import figure, page, paragraph, section, table

_NUM_KEPT, _NUM_PRUNED = 60, 40  # pictures on the page, of kept faces and of each reason
_BINS = 24
_SHOWN_SIZE = 120  # px, of a kept face
_MARK = (40, 230, 90)


def write_report(
    output: Path, recipe: Recipe, counts: Mapping[str, int], num_items: int, outcome: Outcome
) -> str:
    """Write report.html and left_out.csv, and return one sentence of the counts.

    Args:
      output: the folder that takes them.
      recipe: how the corpus was made.
      counts: how many faces each split has.
      num_items: how many items were searched.
      outcome: what became of them.
    """
    with (
        atomic_write(output / "left_out.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.DictWriter(file, ["name", "reason", "details"], extrasaction="ignore")
        rows.writeheader()
        rows.writerows(outcome.pruned)
    with atomic_write(output / "report.html") as temporary:
        temporary.write_text(_page(recipe, counts, num_items, outcome), encoding="utf-8")
    splits = ", ".join(f"{count} {name}" for name, count in counts.items())
    return (
        f"{num_items} {recipe.source.kind} read, {len(outcome.kept)} faces kept ({splits}), "
        f"{len(outcome.pruned)} left out"
    )


def _page(recipe: Recipe, counts: Mapping[str, int], num_items: int, outcome: Outcome) -> str:
    parser = record_parser(corpus_features(recipe.encoding, recipe.options.image_size))
    reasons = Counter(entry["reason"] for entry in outcome.pruned)
    rows = [
        (f"{recipe.source.kind} read", num_items, ""),
        ("pictures searched", outcome.num_pictures, ""),
        ("faces kept", len(outcome.kept), ""),
        *((f"of these, {name}", count, "") for name, count in counts.items()),
        *((f"left out: {r}", reasons[r], REASONS[r]) for r in REASONS),
    ]
    sheets = (
        section(
            f"Left out: {reason} ({reasons[reason]:,})",
            *map(_pruned_figure, _some(entries, _NUM_PRUNED)),
        )
        for reason in REASONS
        if (entries := [entry for entry in outcome.pruned if entry["reason"] == reason])
    )
    return page(
        "mofa_faces",
        paragraph(f"From {recipe.source.path}."),
        table(rows),
        "<p>All that was left out is named in <a href=left_out.csv>left_out.csv</a>.</p>",
        section("Statistics", *_statistics(outcome.kept, parser, recipe.options.image_size)),
        section("Kept", *(_kept_figure(face, parser) for face in _some(outcome.kept, _NUM_KEPT))),
        *sheets,
    )


def _some(entries: Iterable[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """A few entries by a hash of their names: a choice that no order changes."""
    chosen = heapq.nsmallest(count, entries, key=lambda entry: group_rank(0, entry["name"]))
    return sorted(chosen, key=lambda entry: entry["name"])


def _statistics(
    kept: list[dict[str, Any]], parser: ExampleParserNp, image_size: int
) -> tuple[str, str, str]:
    """Drawings of how boxes and landmarks are spread."""
    sides: Counter[int] = Counter()  # by quarter octaves
    confidences: Counter[int] = Counter()
    sums = np.zeros((3, 68, 2))  # weights, weighted sums and sums of squares
    for face in kept:
        record = parser.parse_example(read_place(face["record"]))
        box, confidence, points = (
            record[key].astype(float) for key in ("box", "confidence", "landmarks")
        )
        sides[int(np.log2(max(box[2:].mean(), 1)) * 4)] += 1
        weight = (confidence > 0)[:, None].astype(float)
        if weight.any():
            confidences[int(confidence.mean() * (_BINS - 1e-6))] += 1
        sums += np.stack([weight * np.ones(2), weight * points, weight * points**2])
    octaves = range(min(sides, default=0), max(sides, default=0) + 1)
    side_bars = [(f"{2 ** (k / 4):.0f}", sides[k]) for k in octaves]
    confidence_bars = [(f"{k / _BINS:.2f}", confidences[k]) for k in range(_BINS)]
    return (
        _histogram("side of the box, px", side_bars),
        _histogram("confidence of the landmarks", confidence_bars),
        _landmark_figure(sums, image_size),
    )


def _kept_figure(face: dict[str, Any], parser: ExampleParserNp) -> str:
    """A kept crop with its landmarks, small."""
    record = parser.parse_example(read_place(face["record"]))
    image = decode_photograph(record["image"], face["name"])
    present = record["landmarks"][record["confidence"] > 0].astype(float)
    for x, y in np.round(4 * (present - 0.5)).astype(int).tolist():
        cv2.circle(image, (x, y), 6, _MARK, -1, cv2.LINE_AA, shift=2)
    small = cv2.resize(image, (_SHOWN_SIZE, _SHOWN_SIZE), interpolation=cv2.INTER_AREA)
    return figure(encode_photograph(small, "jpeg", 80), face["name"])


def _pruned_figure(entry: dict[str, Any]) -> str:
    text = f"{entry['name']} {entry['details']}"
    if entry["picture"] is None:
        return f"<div>{html.escape(text)}</div>"
    return figure(read_place(entry["picture"]), text)


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
