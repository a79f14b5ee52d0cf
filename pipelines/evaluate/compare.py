"""`longtake evaluate --compare A B C out=PATH`: evaluations of the same prompts and seeds, side by side.

Videos with the same prompt and seed are paired. The page shows the mean of the differences to the first folder with its
95 % bootstrap interval over the pairs: an interval without 0 is a difference.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from longtake.models.metrics.bootstrap import interval
from longtake.models.metrics.catalog import CATALOG, Better, Entry
from longtake.pipelines.evaluate.pages import copy_video, render
from longtake.pipelines.evaluate.results import DONE, Evaluation, MetricRow, video_of
from longtake.pipelines.evaluate.settings import compared
from longtake.pipelines.files.store import Store
from longtake.pipelines.terminal.exit_codes import Refused

Key = tuple[str, int]  # prompt and seed
Table = Mapping[Key, MetricRow]
NUM_SHOWN = 6  # pairs whose videos are on the page
MIN_PAIRS = 6  # for a verdict: the interval of fewer is as wide as chance


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that has been checked and can run."""

    store: Store  # for the page
    folders: Sequence[str]
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of one metric to the first folder."""

    mean: float
    low: float
    high: float
    verdict: str  # "better", "worse", or "" if undecided


@dataclass(frozen=True, slots=True)
class MetricChanges:
    """A row of the table: one metric in all folders."""

    entry: Entry
    mean: float  # in the first folder
    changes: list[Change | None]  # of the other folders


@dataclass(frozen=True, slots=True)
class Pair:
    """The videos of one prompt and seed: folder and file of each."""

    prompt: str
    seed: int
    videos: list[tuple[str, str]]


def check(folders: Sequence[str], options: Mapping[str, str]) -> Comparison:
    """Checks folders and options. Raises ValueError naming the folder or option and the rule."""
    unknown = [name for name in options if name != "out"]
    if unknown:
        raise ValueError(f"{unknown[0]}={options[unknown[0]]}: with --compare only out can be set")
    if "out" not in options:
        raise ValueError("out is missing: the folder for the page, such as out=compared")
    if not options["out"].strip():
        raise ValueError("out= is empty: it needs a value")
    if len(folders) < 2:
        raise ValueError(f"--compare {' '.join(folders)}: it needs at least two folders")
    evaluations = [Evaluation(Store(folder)) for folder in folders]
    settings = []
    for folder, evaluation in zip(folders, evaluations, strict=True):
        if evaluation.settings is None:
            raise ValueError(f"--compare {folder}: it holds no evaluation; run `longtake evaluate` with out={folder}")
        settings.append(evaluation.settings)
    for name in compared(*settings):
        first = settings[0].get(name)
        for folder, values in zip(folders, settings, strict=True):
            if values.get(name, first) != first:
                raise ValueError(
                    f"--compare: {folders[0]} was measured with {name}={first} and {folder} with "
                    f"{name}={values[name]}; metrics measured differently cannot be compared"
                )
    store = Store(options["out"])
    store.check("out")
    return Comparison(store, folders, evaluations)


def compare(comparison: Comparison) -> Iterator[str]:
    """Writes differences.json and index.html; yields lines that report the pairs found."""
    folders = comparison.folders
    every = [evaluation.rows() for evaluation in comparison.evaluations]
    tables = [_by_key(rows) for rows in every]
    shared = sorted(set.intersection(*map(set, tables)))
    if not shared:
        raise Refused(f"--compare {' '.join(folders)}: they have no prompt and seed in common")
    for folder, rows, table in zip(folders, every, tables, strict=True):
        videos = "1 video" if len(table) == 1 else f"{len(table)} videos"
        yield f"{folder}: {videos}, {len(shared)} of them in all folders{_left_out(rows, table)}"
    found = {
        folder: {entry.name: difference(entry.name, [tables[0][key] for key in shared], [table[key] for key in shared])
                 for entry in CATALOG}
        for folder, table in zip(folders[1:], tables[1:], strict=True)
    }  # fmt: skip
    content = {"first": folders[0], "pairs": len(shared), "differences": found}
    comparison.store.put("differences.json", json.dumps(content).encode())
    pairs = "1 pair" if len(shared) == 1 else f"{len(shared)} pairs"
    note = f"{pairs} of the same prompt and seed; differences to {folders[0]} with 95 % intervals."
    if len(shared) < MIN_PAIRS:
        note += f" Fewer than {MIN_PAIRS} are too few for a verdict."
    page = render(
        "compare.html.j2",
        title="Comparison",
        note=note,
        folders=folders,
        lines=list(_lines(tables[0], shared, found)),
        pairs=[_pair(comparison, tables, key, i) for i, key in enumerate(shared[:NUM_SHOWN])],
    )
    comparison.store.put("index.html", page.encode())


def difference(name: str, first: Sequence[MetricRow], other: Sequence[MetricRow]) -> list[float] | None:
    """Mean, low and high of other - first over the pairs in which both are finite; None without such a pair."""
    pairs = [
        (a[name], b[name]) for a, b in zip(first, other, strict=True) if a[name] is not None and b[name] is not None
    ]
    finite = [float(b - a) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    return list(interval(finite)) if finite else None


def _left_out(rows: Sequence[MetricRow], table: Table) -> str:
    """The rows that are in no pair, by reason."""
    failed = sum(row["status"] != DONE for row in rows)
    unnamed = sum(row["status"] == DONE and not _has_key(row) for row in rows)
    counts = {
        "without metrics": failed,
        "without prompt or seed": unnamed,
        "with the prompt and seed of another video": len(rows) - failed - unnamed - len(table),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    return f"; left out: {', '.join(said)}" if said else ""


def _by_key(rows: Sequence[MetricRow]) -> dict[Key, MetricRow]:
    return {(row["prompt"], row["seed"]): row for row in rows if _has_key(row)}


def _has_key(row: MetricRow) -> bool:
    return row["status"] == DONE and row["prompt"] is not None and row["seed"] is not None


def _lines(
    first: Table, shared: Sequence[Key], found: Mapping[str, Mapping[str, list[float] | None]]
) -> Iterator[MetricChanges]:
    for entry in CATALOG:
        values = [float(first[key][entry.name]) for key in shared if first[key][entry.name] is not None]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            changes = [_change(entry, estimates[entry.name], len(shared) >= MIN_PAIRS) for estimates in found.values()]
            yield MetricChanges(entry, sum(finite) / len(finite), changes)


def _change(entry: Entry, estimate: list[float] | None, judged: bool) -> Change | None:
    if estimate is None:
        return None
    mean, low, high = estimate
    verdict = ""
    if judged and entry.better is not Better.NEITHER and (low > 0 or high < 0):
        verdict = "better" if (mean > 0) == (entry.better is Better.HIGHER) else "worse"
    return Change(mean, low, high, verdict)


def _pair(comparison: Comparison, tables: Sequence[Table], key: Key, number: int) -> Pair:
    """Copies the videos of a prompt and seed; those that no longer exist are left out."""
    videos = []
    for i, (folder, table) in enumerate(zip(comparison.folders, tables, strict=True)):
        name = f"shown/{number:03d}-{i}.mp4"
        if copy_video(comparison.store, video_of(table[key]), name):
            videos.append((folder, name))
    return Pair(*key, videos)
