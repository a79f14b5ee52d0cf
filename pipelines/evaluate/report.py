"""The page of an evaluation: metrics with intervals and distributions, and the best and worst videos."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from longtake.models.metrics.bootstrap import interval
from longtake.models.metrics.catalog import BY_NAME, CATALOG, Better, Entry
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.pages import copy_video, render
from longtake.pipelines.evaluate.pictures import curve, histogram
from longtake.pipelines.evaluate.results import DONE, FAILED, NOT_MADE, Evaluation, MetricRow
from longtake.pipelines.files.store import Store

JUDGES = ("mawe_code", "seam_ratio", "drift_color", "clip_score")  # the metrics that choose the best and the worst
NUM_SHOWN = 2  # best and worst videos of each
NUM_LISTED = 50  # videos that failed, and videos with notes
CURVES = {"flow": "motion", "warp_error": "warp error", "difference": "frame difference", "sharpness": "sharpness"}


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A row of the table: one metric over all videos."""

    entry: Entry
    mean: float
    low: float
    high: float
    infinite: int  # videos left out of the mean
    histogram: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """One video that is shown."""

    title: str
    path: str
    file: str  # relative to the page
    facts: list[tuple[str, float]]
    curves: list[tuple[str, Markup]]


def write_report(evaluation: Evaluation, rows: Sequence[MetricRow], note: str, videos: Mapping[str, Listed]) -> str:
    """Writes index.html and copies of the videos on it; returns the page. `videos` maps `made_from` to its video."""
    shown = [row["made_from"] for _, some in chosen(rows) for row in some]
    files = _copied(evaluation.store, [videos[one] for one in shown])
    page = report(rows, note, files, evaluation.curves(shown))
    evaluation.store.put("index.html", page.encode())
    return page


def report(rows: Sequence[MetricRow], note: str, files: Mapping[str, str], curves: Mapping[str, MetricRow]) -> str:
    """The page as HTML; `files` maps the path of a video to its copy, for the videos that are shown.

    `curves` are theirs, by the `made_from` of rows.
    """
    good, failed, not_made = ([row for row in rows if row["status"] == kind] for kind in (DONE, FAILED, NOT_MADE))
    measured = "1 video" if len(good) == 1 else f"{len(good)} videos"
    missing = f", {len(not_made)} not made by the bulk job" if not_made else ""
    flows = ", ".join(sorted({row["flow"] for row in good})) or "none"
    groups = [
        (title, [_card(row, files[row["path"]], curves[row["made_from"]]) for row in some if row["path"] in files])
        for title, some in chosen(rows)
    ]
    return render(
        "report.html.j2",
        title="Evaluation",
        note=f"{measured} measured, {len(failed)} failed{missing}. Flow: {flows}. {note}.",
        lines=list(_lines(good)),
        groups=[(title, cards) for title, cards in groups if cards],
        lists=[
            _lines_of("Failed", failed, "reason"),
            _lines_of("Notes", [row for row in good if row["notes"]], "notes"),
        ],
        num_listed=NUM_LISTED,
    )


def chosen(rows: Sequence[MetricRow]) -> list[tuple[str, list[MetricRow]]]:
    """The best and the worst videos by each judge, with a title."""
    groups = []
    for name in JUDGES:
        entry = BY_NAME[name]
        known = [row for row in rows if row["status"] == DONE and row[name] is not None]
        ordered = sorted(known, key=lambda row: row[name], reverse=entry.better is Better.HIGHER)
        if len(ordered) >= 2:
            count = min(NUM_SHOWN, len(ordered) // 2)
            groups.append((f"Best {entry.title}", ordered[:count]))
            groups.append((f"Worst {entry.title}", ordered[-count:][::-1]))
    return groups


def _lines_of(title: str, rows: Sequence[MetricRow], column: str) -> tuple[str, list[str]]:
    return title, [f"{row['path']}: {row[column]}" for row in rows]


def _copied(store: Store, videos: Iterable[Listed]) -> dict[str, str]:
    """Copies each video once; the names of the copies by path."""
    files: dict[str, str] = {}
    for video in videos:
        name = f"shown/{len(files):03d}.mp4"
        if video.path not in files and copy_video(store, video, name):
            files[video.path] = name
    return files


def _lines(rows: Sequence[MetricRow]) -> Iterator[MetricSummary]:
    for entry in CATALOG:
        known = [float(row[entry.name]) for row in rows if row[entry.name] is not None]
        finite = [value for value in known if math.isfinite(value)]
        if known:
            mean, low, high = interval(finite) if finite else (math.inf, math.inf, math.inf)
            picture = histogram(finite, f"{entry.title}: {len(finite)} videos") if len(finite) > 1 else Markup()
            yield MetricSummary(entry, mean, low, high, len(known) - len(finite), picture)


def _card(row: MetricRow, file: str, curves: MetricRow) -> Card:
    return Card(
        title=str(row["prompt"] or row["path"]),
        path=row["path"],
        file=file,
        facts=[(BY_NAME[n].title, row[n]) for n in (*JUDGES, "scuts", "flow_std") if row[n] is not None],
        curves=[(title, curve(curves[f"curve_{name}"], title)) for name, title in CURVES.items()
                if curves[f"curve_{name}"]],
    )  # fmt: skip
