"""`longtake evaluate`: videos in, a row of figures a video out, and a page that shows them; restart is resume.

list_videos ──► Ray Data: Measurer on every CPU ──► Evaluation (parquet parts) ──► report, MLflow run
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from longtake.models.metrics.catalog import CATALOG
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.evaluate.measurer import Measurer, flow_name, load_clip
from longtake.pipelines.evaluate.report import write_report
from longtake.pipelines.evaluate.results import Evaluation, Row
from longtake.pipelines.evaluate.settings import EvaluateConf, measured_by
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.tracking.tracker import Tracker, open_tracker

logger = logging.getLogger(__name__)
PART_S = 20.0  # rows wait at most so long to be written: what a kill can cost
LOG_S = 15.0


def check(conf: EvaluateConf) -> tuple[Evaluation, list[Listed], str]:
    """What is wrong is found before anything is started. The folder, the videos and the flow method.

    Raises ValueError naming field, value and rule, also when `out` holds figures that were measured otherwise.
    """
    videos, flow = list_videos(conf.manifest), flow_name(conf.flow, conf.size)
    if conf.clip is not None:
        load_clip(conf.clip)
    store = Store(conf.out)
    store.check("out")
    evaluation = Evaluation(store)
    before, now = evaluation.settings, measured_by(conf, flow)
    changed = [f"{key}={before[key]} (now: {value})" for key, value in now.items() if before and before[key] != value]
    if changed:
        raise ValueError(
            f"out={conf.out} holds figures that were measured otherwise: {'; '.join(changed)}. Take another out"
        )
    return evaluation, videos, flow


def run(conf: EvaluateConf, evaluation: Evaluation, videos: Sequence[Listed], flow: str) -> list[Row]:
    """Measures what is not measured yet, writes the report, and gives all rows."""
    began = time.monotonic()
    store = evaluation.store
    store.sweep()
    evaluation.begin(measured_by(conf, flow))
    done = {row["path"] for row in evaluation.rows(["path"])}
    left = [video for video in videos if video.path not in done]
    with _tracked(conf, store) as tracker:
        if left:
            connect(conf.ray)
            _collect(evaluation, _measured(conf, left), len(left), tracker)
        rows = evaluation.rows()
        seconds = time.monotonic() - began
        page = write_report(store, rows, f"{len(left)} videos measured in {seconds:.0f} s on {_workers(conf)} workers")
        tracker.metrics(summary(rows))
        tracker.table([{key: row[key] for key in row if not key.startswith("curve_")} for row in rows], "figures")
        tracker.artifact(page.encode(), "report/index.html")
    return rows


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Means of the figures that are finite, and how many videos there are."""
    good = [row for row in rows if row["status"] == "done"]
    means = {"videos": float(len(good)), "failed": float(len(rows) - len(good))}
    for entry in CATALOG:
        values = [row[entry.name] for row in good if row[entry.name] is not None and math.isfinite(row[entry.name])]
        if values:
            means[entry.name] = float(np.mean(values))
    return means


def _measured(conf: EvaluateConf, videos: Sequence[Listed]) -> Iterator[Row]:
    """Rows in the order in which they are done."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    workers = _workers(conf)
    blocks = min(len(videos), max(workers, len(videos) // 4))
    items = ray.data.from_items([{"item": video.as_text()} for video in videos], override_num_blocks=blocks)
    items.context.enable_progress_bars = False
    measured = items.map_batches(
        _Batches,
        fn_constructor_args=(conf,),
        batch_size=1,
        batch_format="numpy",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(videos))),
    )
    for row in measured.iter_rows():
        yield json.loads(row["row"])


class _Batches:
    """A Measurer as Ray Data calls it. Rows travel as JSON: which columns are known differs from one to the next."""

    def __init__(self, conf: EvaluateConf) -> None:
        self._measure = Measurer(conf)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"row": [json.dumps(self._measure(Listed.of_text(item))) for item in batch["item"]]}


def _workers(conf: EvaluateConf) -> int:
    return conf.num_workers or os.cpu_count() or 1


def _collect(evaluation: Evaluation, rows: Iterator[Row], total: int, tracker: Tracker) -> None:
    waiting: list[Row] = []
    written = logged = time.monotonic()
    bar = tqdm(rows, total=total, desc="videos", unit="video", disable=None, leave=False)
    try:
        for count, row in enumerate(bar, 1):
            waiting.append(row)
            if time.monotonic() - written > PART_S:
                evaluation.add(waiting)
                waiting, written = [], time.monotonic()
            if time.monotonic() - logged > LOG_S:
                logger.info("%d/%d videos measured", count, total)
                tracker.metrics({"measured": count})
                logged = time.monotonic()
    finally:
        evaluation.add(waiting)


@contextmanager
def _tracked(conf: EvaluateConf, store: Store) -> Iterator[Tracker]:
    """The MLflow run; an evaluation that is resumed goes on with that of the one before."""
    known = json.loads(store.get("run.json"))["run"] if store.exists("run.json") else None
    tracker = open_tracker(conf.tracking, store.local_path, "evaluate", known)
    store.put("run.json", json.dumps({"run": tracker.key}).encode())
    with tracker:
        tracker.params({key: value for key, value in flatten(conf).items() if not key.startswith("tracking.")})
        yield tracker
