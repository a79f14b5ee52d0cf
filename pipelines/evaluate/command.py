"""`longtake evaluate`: videos in; a row of metrics per video and a page out. Restart is resume.

list_videos ──► Ray Data: Measurer on every CPU ──► Evaluation (parquet parts) ──► report, MLflow run
"""

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from longtake.models.metrics.catalog import CATALOG
from longtake.models.video.notes import count_kinds
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.datasets.video_list import Listed, VideoList, list_videos
from longtake.pipelines.evaluate.results import DONE, FAILED, Evaluation, MetricRow, failed_row
from longtake.pipelines.evaluate.resume import EvaluationWork, resume
from longtake.pipelines.evaluate.settings import EvaluateConf, compared, measurement_settings
from longtake.pipelines.files.store import Store
from longtake.pipelines.terminal.progress import StatusLine, counts, doing
from longtake.pipelines.tracking.job_run import job_run
from longtake.pipelines.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
PART_S = 20.0  # rows are held at most this long before they are written: what a kill can lose
TRACK_S = 15.0


@dataclass(frozen=True, slots=True)
class PreparedEvaluation:
    """An evaluation that has been checked and can run."""

    conf: EvaluateConf
    evaluation: Evaluation
    videos: VideoList
    settings: Mapping[str, object]  # that metrics depend on

    @property
    def num_workers(self) -> int:
        return self.conf.num_workers or os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """The rows of the listed videos, and where they came from."""

    rows: list[MetricRow]
    there: int  # measured by an earlier run
    failed_before: int
    passed_over: Sequence[str]  # a line each

    @property
    def failed(self) -> int:
        """Videos without metrics, of this run or an earlier one."""
        return sum(row["status"] == FAILED for row in self.rows)

    def lines(self) -> list[str]:
        """The summary for people."""
        done = sum(row["status"] == DONE for row in self.rows)
        now = done - self.there
        parts = [
            f"{now} {'video' if now == 1 else 'videos'} measured now",
            f"{self.there} measured before" if self.there else "",
            f"{self.failed - self.failed_before} failed now",
            f"{self.failed_before} failed before (retry_failed=true measures them again)" if self.failed_before else "",
            f"{not_made} not made by the bulk job" if (not_made := len(self.rows) - done - self.failed) else "",
        ]
        return [", ".join(part for part in parts if part), *self._noted(), *self.passed_over]

    def _noted(self) -> list[str]:
        """A line on what was left out of videos, guessed or converted."""
        noted = [row["notes"] for row in self.rows if row["notes"]]
        said = ", ".join(f"{count} x {kind}" for kind, count in count_kinds(noted).most_common())
        return [f"{len(noted)} with notes, on the page and in the column notes: {said}"] if noted else []


def check(conf: EvaluateConf) -> PreparedEvaluation:
    """Checks everything that needs no cluster: the videos, the folder, flow and CLIP.

    Raises ValueError naming field, value and rule, also when `out` holds metrics measured with other settings.
    """
    videos = list_videos(conf.manifest)
    store = Store(conf.out)
    store.check("out")
    # After the checks that need none of them: torch and transformers take seconds.
    from longtake.pipelines.evaluate.networks import clip_sha256, flow_name, load_clip

    flow = flow_name(conf.flow, conf.size)
    if conf.clip is not None:
        load_clip(conf.clip, conf.allow_pickle)
    evaluation = Evaluation(store)
    before = evaluation.settings or {}
    now = measurement_settings(conf, flow, None if conf.clip is None else clip_sha256(conf.clip))
    both = {name: (before.get(name, now[name]), now[name]) for name in (*compared(before, now), "manifest")}
    changed = [f"{name}={then} (now: {value})" for name, (then, value) in both.items() if then != value]
    if changed:
        raise ValueError(
            f"out={conf.out} holds metrics measured with other settings: {'; '.join(changed)}. Choose another out"
        )
    return PreparedEvaluation(conf, evaluation, videos, now)


def run(prepared: PreparedEvaluation) -> EvaluationSummary:
    """Measures the videos that have no row yet, and writes the report."""
    from longtake.pipelines.evaluate.report import write_report
    from longtake.pipelines.runners.ray_cluster import connect

    began = time.monotonic()
    conf, evaluation = prepared.conf, prepared.evaluation
    store = evaluation.store
    store.sweep()
    evaluation.begin(prepared.settings)
    work = resume(prepared.videos, evaluation.rows(["path", "status", "made_from"]), conf.retry_failed)
    _report(prepared, work)
    evaluation.forget(work.outdated)
    evaluation.add([failed_row(video, video.reason or "") for video in work.not_made])
    with job_run(conf.tracking, store, "run.json", "evaluate", flatten(conf)) as tracker:
        if work.left:
            connect(conf.ray)
            _collect(evaluation, _measured(prepared, work.left), len(work.left), tracker)
        videos = {video.digest: video for video in prepared.videos}
        rows = [row for row in evaluation.rows() if row["made_from"] in videos]
        seconds = time.monotonic() - began
        note = f"Measured in this run: {len(work.left)}, in {seconds:.0f} s; workers: {prepared.num_workers}"
        with doing("writing the page"):
            page = write_report(evaluation, rows, note, videos)
        tracker.metrics(summary(rows))
        tracker.table(rows, "figures")
        tracker.artifact(page.encode(), "report/index.html")
    return EvaluationSummary(rows, work.num_there, work.num_failed_before, prepared.videos.notes)


def summary(rows: Sequence[MetricRow]) -> dict[str, float]:
    """The number of videos, and the mean of each metric over its finite values."""
    good = [row for row in rows if row["status"] == DONE]
    means = {"videos": float(len(good)), "failed": float(sum(row["status"] == FAILED for row in rows))}
    for entry in CATALOG:
        values = [row[entry.name] for row in good if row[entry.name] is not None and math.isfinite(row[entry.name])]
        if values:
            means[entry.name] = float(np.mean(values))
    return means


def _report(prepared: PreparedEvaluation, work: EvaluationWork) -> None:
    """Says what will be done."""
    for note in (*prepared.videos.notes, *work.notes):
        logger.info("%s", note)
    there = f", {work.num_there} measured before" if work.num_there else ""
    before = f", {work.num_failed_before} failed before" if work.num_failed_before else ""
    videos = "video" if len(work.left) == 1 else "videos"
    logger.info("%d %s to measure%s%s", len(work.left), videos, there, before)


def _measured(prepared: PreparedEvaluation, videos: Sequence[Listed]) -> Iterator[MetricRow]:
    """Rows in order of completion."""
    from longtake.pipelines.datasets.video_workers import map_videos
    from longtake.pipelines.evaluate.measurer import Measurer

    for video, row in map_videos(videos, Measurer, (prepared.conf,), prepared.num_workers):
        yield failed_row(video, row) if isinstance(row, str) else row


def _collect(evaluation: Evaluation, rows: Iterator[MetricRow], total: int, tracker: Tracker) -> None:
    """Writes rows in parts while they arrive."""
    unwritten: list[MetricRow] = []
    written = tracked = time.monotonic()
    count = failed = 0

    def status(seconds: float) -> StatusLine:
        return counts(count, total, "videos measured", seconds, notes=f"{failed} failed" if failed else "")

    try:
        with doing(status):
            for row in rows:
                unwritten.append(row)
                count += 1
                if row["status"] == FAILED:
                    failed += 1
                    logger.warning("%s failed: %s", row["path"], row["reason"])
                if time.monotonic() - written > PART_S:
                    evaluation.add(unwritten)
                    unwritten, written = [], time.monotonic()
                if time.monotonic() - tracked > TRACK_S:
                    tracker.metrics({"measured": count})
                    tracked = time.monotonic()
    finally:
        evaluation.add(unwritten)
