"""The page docs/results.md: the paper's numbers, and ours beside them.

    python -m benchmarks.results --add=runs/x/evaluation/evaluation.json --name=built_in.lfw
    python -m benchmarks.results

The first takes the numbers of a result over into docs/results/NAME.json, a name that
`benchmarks.paper` knows: of `mofa_jax.evaluate`,
`benchmarks.experiments`, `benchmarks.fit`, `benchmarks.scan_error`, `benchmarks.likeness` or
`benchmarks.gpu` (its part inference). The second writes the tables anew, between the page's two
marks: of each experiment in `benchmarks.paper` the paper's numbers, then a row for every result
that there is, with its command, hardware and commit, or the reason why there is none.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.paper import COLUMNS, EXPERIMENTS, Experiment, Numbers
from mofa_jax.files.writing import atomic_write, write_json

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "results"
PAGE = FOLDER.with_suffix(".md")
BEGIN, END = "<!-- begin: python -m benchmarks.results -->", "<!-- end -->"
_ADD = flags.DEFINE_string("add", None, "A JSON file of a result.")
_NAME = flags.DEFINE_string("name", None, "Its name in docs/results/.")


def reduced(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of a result what the page shows: `rows`, by their labels the means, and where it comes from.

    Raises:
      ValueError: it is of no kind that is known.
    """
    if "held_out" in result:
        rows, origin = _of_training(result), result["calls"][-1]
        done = {key: sum(call[key] for call in result["calls"]) for key in ("steps", "seconds")}
        done["command"] = " ".join(result["command"])
    elif "all" in result:
        rows, origin = {"": _means(result["all"]["errors"])}, result
        done = {"faces": result["all"]["num_faces"], "failed": result["all"]["num_failed"]}
    elif "statistics" in result:
        rows, origin = dict(_of_statistics(result["statistics"])), result
        failed = _num_failed(result.get("faces", {}))
        done = {"faces": _count(result["statistics"]) + failed, "failed": failed}
    elif "inference" in result:
        rows, origin, done = _of_inference(result["inference"]), result["inference took"], {}
    elif "rows" in result:
        rows, origin, done = result["rows"], result, {}
    else:
        raise ValueError("neither of evaluate, experiments, fit, scan_error, likeness nor gpu")
    kept = {key: origin[key] for key in ("command", "date", "commit", "hardware")}
    kept["hardware"] = {key: kept["hardware"][key] for key in ("processor", "cores", "devices")}
    kept |= done | ({"seed": result["seed"]} if "seed" in result else {})
    return {"rows": rows, **kept, "command": without_folders(kept["command"])}


def without_folders(command: str) -> str:
    """A command whose absolute paths are cut down to their last parts: where they lay is nobody's
    business."""
    return re.sub(r"(?<=[=,\s])/(?:[\w.+-]+/)+", "", command)


def _of_training(result: Mapping[str, Any]) -> dict[str, Numbers]:
    curves = {key: [*values.items()] for key, values in result["held_out"].items()}
    known = {key: values for key, values in curves.items() if key in COLUMNS and values}
    ends = {f"step {values[-1][0]}" for values in known.values()}
    return {
        "start": {key: values[0][1] for key, values in known.items()},
        ", ".join(sorted(ends)): {key: values[-1][1] for key, values in known.items()},
    }


def _of_statistics(statistics: Mapping[str, Any], label: str = "") -> Iterator[tuple[str, Numbers]]:
    """Rows of nested groups, whose innermost have means by error, or are a mean themselves."""
    for name, group in statistics.items():
        path = f"{label}, {name}".lstrip(", ")
        if "mean" in group:
            yield path, {"scan_error": group["mean"]}
        elif means := _means(group):
            yield path, means
        else:
            yield from _of_statistics(group, path)


def _count(statistics: Mapping[str, Any]) -> int:
    """How many faces are in the first of nested groups; ValueError if it has none yet."""
    while "count" not in statistics:
        if not statistics:
            raise ValueError("its first part is not whole yet")
        statistics = next(iter(statistics.values()))
    return statistics["count"]


def _num_failed(kinds: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> int:
    """How many faces failed, by kind, in the kind whose numbers are counted, the first."""
    faces = next(iter(kinds.values()), {})
    return sum("failed" in face for face in faces.values())


def _of_inference(rows: list[Mapping[str, Any]]) -> dict[str, Numbers]:
    """Milliseconds a crop of `benchmarks.gpu`'s part of that name."""
    return {
        f"{row['encoder']}, {row['dtype']}, batch {row['batch']}": {
            "milliseconds": row["ms"] / row["batch"]
        }
        for row in rows
    }


def _means(errors: Mapping[str, Any]) -> Numbers:
    return {
        key: error["mean"] for key, error in errors.items() if key in COLUMNS and "mean" in error
    }


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The sections of all experiments, Markdown."""
    return "\n".join(_section(experiment, results) for experiment in EXPERIMENTS)


def _section(experiment: Experiment, results: Mapping[str, Mapping[str, Any]]) -> str:
    shown = [key for key in COLUMNS if any(key in row for row in _numbers(experiment, results))]
    header = ["", *(COLUMNS[key].title for key in shown), "from"]
    lines = [f"### {experiment.title}", "", experiment.about, ""]
    lines += [_line(header), "|---" * len(header) + "|"]
    for who, printed in experiment.paper.items():
        cells = (f"{printed[key]:g}" if key in printed else "-" for key in shown)
        lines.append(_line([who, *cells, "the paper"]))
    commands, missing = [], []
    for who, name in experiment.ours.items():
        if name not in results:
            missing.append(f"- {who}: no result. {experiment.missing.get(who, '')}".rstrip())
            continue
        result = results[name]
        for label, numbers in result["rows"].items():
            values = ((numbers.get(key), COLUMNS[key].format) for key in shown)
            cells = ("-" if value is None else format(value, form) for value, form in values)
            lines.append(_line([f"**{who}**{', ' * bool(label)}{label}", *cells, _origin(result)]))
        commands.append(result["command"])
    lines += ["", *missing, *([""] if missing else [])]
    if commands:
        lines += ["```sh", *dict.fromkeys(commands), "```", ""]
    return "\n".join(lines)


def _numbers(experiment: Experiment, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Numbers]:
    """Of all its rows."""
    yield from experiment.paper.values()
    for name in experiment.ours.values():
        yield from results.get(name, {"rows": {}})["rows"].values()


def _origin(result: Mapping[str, Any]) -> str:
    """Faces, steps, time, hardware and commit of a result, in short."""
    parts = []
    if "faces" in result:
        failed = f", {result['failed']} of them failed" if result["failed"] else ""
        parts.append(f"{result['faces']:,} faces{failed}")
    if "steps" in result:
        parts.append(f"{result['steps']:,} steps timed: {result['seconds'] / 60:.0f} min")
    if "seed" in result:
        parts.append(f"seed {result['seed']}")
    machine = result["hardware"]
    on_cpu = machine["devices"][0] == "cpu"
    parts.append(f"{machine['cores']} CPU cores" if on_cpu else machine["devices"][0])
    return ", ".join([*parts, (result["commit"] or "no commit")[:7]])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    if bool(_ADD.value) != bool(_NAME.value):
        sys.exit("error: --add=FILE and --name=NAME belong together; give both or neither.")
    names = [name for experiment in EXPERIMENTS for name in experiment.ours.values()]
    if _NAME.value and _NAME.value not in names:
        sys.exit(
            f"error: --name={_NAME.value}: no experiment of benchmarks/paper.py shows it; choose "
            f"one of {', '.join(names)}, or add it there."
        )
    if _ADD.value:
        try:
            result = reduced(json.loads(Path(_ADD.value).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            sys.exit(f"error: {_ADD.value}: not a result ({error}); give one that a command wrote.")
        FOLDER.mkdir(exist_ok=True)
        write_json(FOLDER / f"{_NAME.value}.json", result)
    results = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page = f"{before}{BEGIN}\n\n{tables(results)}\n{END}{after}"
    with atomic_write(PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"{len(results)} results; see {PAGE}")


if __name__ == "__main__":
    app.run(main)
