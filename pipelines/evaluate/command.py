"""`longtake evaluate`: videos in; a row of metrics per video and a page out. Restart is resume.

list_videos ──► Ray Data: Measurer on every CPU ──► Evaluation (parquet parts) ──► report, MLflow run
"""

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from longtake.models.metrics.catalog import CATALOG
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.evaluate.results import Evaluation, MetricRow
from longtake.pipelines.evaluate.settings import EvaluateConf, measurement_settings
from longtake.pipelines.files.store import Store
from longtake.pipelines.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
PART_S = 20.0  # rows are held at most this long before they are written: what a kill can lose
LOG_S = 15.0


@dataclass(frozen=True, slots=True)
class PreparedEvaluation:
    """An evaluation that has been checked and can run."""

    conf: EvaluateConf
    evaluation: Evaluation
    videos: list[Listed]
    flow: str  # the method that `conf.flow` stands for here

    @property
    def num_workers(self) -> int:
        return self.conf.num_workers or os.cpu_count() or 1


def check(conf: EvaluateConf) -> PreparedEvaluation:
    """Checks everything that needs no cluster: the videos, the folder, flow and CLIP.

    Raises ValueError naming field, value and rule, also when `out` holds metrics measured with other settings.
    """
    videos = list_videos(conf.manifest)
    store = Store(conf.out)
    store.check("out")
    # After the checks that need none of them: torch and transformers take seconds.
    from longtake.pipelines.evaluate.networks import flow_name, load_clip

    flow = flow_name(conf.flow, conf.size)
    if conf.clip is not None:
        load_clip(conf.clip)
    evaluation = Evaluation(store)
    before, now = evaluation.settings, measurement_settings(conf, flow)
    changed = [f"{key}={before[key]} (now: {value})" for key, value in now.items() if before and before[key] != value]
    if changed:
        raise ValueError(
            f"out={conf.out} holds metrics measured with other settings: {'; '.join(changed)}. Choose another out"
        )
    return PreparedEvaluation(conf, evaluation, videos, flow)


def run(prepared: PreparedEvaluation) -> list[MetricRow]:
    """Measures the videos that have no row yet, writes the report, and returns all rows."""
    from longtake.pipelines.evaluate.report import write_report
    from longtake.pipelines.runners.ray_cluster import connect
    from longtake.pipelines.tracking.job_run import job_run

    began = time.monotonic()
    conf, evaluation = prepared.conf, prepared.evaluation
    store = evaluation.store
    store.sweep()
    evaluation.begin(measurement_settings(conf, prepared.flow))
    done = {row["path"] for row in evaluation.rows(["path"])}
    left = [video for video in prepared.videos if video.path not in done]
    with job_run(conf.tracking, store, "run.json", "evaluate", flatten(conf)) as tracker:
        if left:
            connect(conf.ray)
            _collect(evaluation, _measured(prepared, left), len(left), tracker)
        rows = evaluation.rows()
        seconds = time.monotonic() - began
        note = f"{len(left)} videos measured in {seconds:.0f} s on {prepared.num_workers} workers"
        page = write_report(store, rows, note)
        tracker.metrics(summary(rows))
        tracker.table([{key: row[key] for key in row if not key.startswith("curve_")} for row in rows], "figures")
        tracker.artifact(page.encode(), "report/index.html")
    return rows


def summary(rows: Sequence[MetricRow]) -> dict[str, float]:
    """The number of videos, and the mean of each metric over its finite values."""
    good = [row for row in rows if row["status"] == "done"]
    means = {"videos": float(len(good)), "failed": float(len(rows) - len(good))}
    for entry in CATALOG:
        values = [row[entry.name] for row in good if row[entry.name] is not None and math.isfinite(row[entry.name])]
        if values:
            means[entry.name] = float(np.mean(values))
    return means


def _measured(prepared: PreparedEvaluation, videos: Sequence[Listed]) -> Iterator[MetricRow]:
    """Rows in order of completion."""
    from ray.data import ActorPoolStrategy

    from longtake.pipelines.datasets.video_workers import map_videos
    from longtake.pipelines.evaluate.measurer import Measurer

    workers = prepared.num_workers
    return map_videos(
        videos,
        Measurer,
        (prepared.conf,),
        num_blocks=min(len(videos), max(workers, len(videos) // 4)),
        compute=ActorPoolStrategy(size=min(workers, len(videos))),
    )


def _collect(evaluation: Evaluation, rows: Iterator[MetricRow], total: int, tracker: Tracker) -> None:
    """Writes rows in parts while they arrive."""
    unwritten: list[MetricRow] = []
    written = logged = time.monotonic()
    bar = tqdm(rows, total=total, desc="videos", unit="video", disable=None, leave=False)
    try:
        for count, row in enumerate(bar, 1):
            unwritten.append(row)
            if time.monotonic() - written > PART_S:
                evaluation.add(unwritten)
                unwritten, written = [], time.monotonic()
            if time.monotonic() - logged > LOG_S:
                logger.info("%d/%d videos measured", count, total)
                tracker.metrics({"measured": count})
                logged = time.monotonic()
    finally:
        evaluation.add(unwritten)
