"""`longtake ablate`: the paper's ablations and its training-free baselines, on one base model, prompts and seeds.

    prompt by prompt   videos of all variants and their metrics, in `work` (pipelines/ablation/jobs.py)
    at the end         paired differences, the paper's claims, plots ──► <out>/ablations.md, .jsonl, .png

Videos and metrics that exist are kept: an interrupted run continues, and so does one with more prompts or variants.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtake.models.metrics.flow import dis
from longtake.models.metrics.measure import measure
from longtake.pipelines.ablation.jobs import Job
from longtake.pipelines.ablation.report import write
from longtake.pipelines.ablation.settings import AblateConf, Variant
from longtake.pipelines.ablation.statistics import ResultRow
from longtake.pipelines.ablation.video_maker import Frames, MadeVideo, VideoMaker
from longtake.pipelines.terminal.progress import counts, doing

logger = logging.getLogger(__name__)

Judge = Callable[[str, Frames], dict[str, bool]]  # (prompt, frames) -> further metrics; a worker can unpickle it


def run(jobs: Sequence[Job], judge: Judge | None = None) -> str:
    """Makes and measures the missing videos and writes the results. Returns a line on what they are and where."""
    conf = jobs[0].conf
    there = num_measured(jobs)
    rows = measured(jobs, judge)
    write(conf, rows, Path(conf.out), lambda row: load_frames(jobs[row["index"]].video(row["variant"])))
    return (
        f"{conf.out}: {len(rows)} videos of {len(jobs)} prompts compared, {len(rows) - there} of them measured now; "
        f"see {Path(conf.out, 'ablations.md').resolve()}; the videos are in {jobs[0].folder.resolve()}"
    )


def measured(jobs: Sequence[Job], judge: Judge | None = None) -> list[ResultRow]:
    """A row of metrics for every video; missing videos are made."""
    conf = jobs[0].conf
    there, total = num_measured(jobs), len(jobs) * len(conf.chosen)
    with doing(lambda seconds: counts(num_measured(jobs), total, "videos", seconds, earlier=there)):
        return [row for some in _done(conf, jobs, judge) for row in some]


def num_measured(jobs: Sequence[Job]) -> int:
    """The number of videos with metrics, by their files: other processes write these."""
    return sum(_place(job, variant).exists() for job in jobs for variant in job.conf.chosen)


def load_frames(path: Path) -> Frames:
    """The frames of a video that was made."""
    with np.load(path) as file:
        return np.asarray(file["frames"])


def _done(conf: AblateConf, jobs: Sequence[Job], judge: Judge | None) -> Iterator[list[ResultRow]]:
    if conf.workers == 1:
        maker = VideoMaker(conf)
        yield from (_rows(job, maker, judge) for job in jobs)
        return
    with ProcessPoolExecutor(conf.workers, get_context("spawn"), _one_thread) as pool:
        yield from pool.map(partial(_rows_in_worker, judge=judge), jobs)


def _one_thread() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _rows_in_worker(job: Job, judge: Judge | None) -> list[ResultRow]:
    return _rows(job, _maker(job.conf), judge)


@cache
def _maker(conf: AblateConf) -> VideoMaker:
    """A worker loads its bundle once."""
    return VideoMaker(conf)


def _rows(job: Job, maker: VideoMaker, judge: Judge | None) -> list[ResultRow]:
    return [_row(job, variant, maker, judge) for variant in job.conf.chosen]


def _row(job: Job, variant: Variant, maker: VideoMaker, judge: Judge | None) -> ResultRow:
    """The metrics of one video: read from their file, or measured and written there."""
    place, flow = _place(job, variant), dis()
    row: ResultRow = json.loads(place.read_text()) if place.exists() else {}
    if not row:
        began = time.monotonic()
        video = _video(job, variant, maker)
        row = {"variant": variant.name, "index": job.index, "prompt": job.spec.prompt, "seed": job.spec.seed}
        about: dict[str, Any] = {"prompt": job.spec.prompt, "borders": video.borders, "clip": maker.clip}
        found = measure(video.frames, float(job.conf.fps), flow, size=job.conf.flow_size, **about)
        row |= found.values
        row["curve"] = [round(float(length), 4) for length in found.curves["flow"]]
        _write(place, json.dumps(row).encode())
        seconds = time.monotonic() - began
        logger.info("video measured prompt=%d variant=%s seconds=%.1f", job.index, variant.name, seconds)
    return row if judge is None else row | _judged(job, variant, judge)


def _place(job: Job, variant: Variant) -> Path:
    return job.video(variant.name).with_suffix(f".dis-{job.conf.flow_size}.json")


def _judged(job: Job, variant: Variant, judge: Judge) -> ResultRow:
    """The metrics of a judge, in a file of their own."""
    path = job.video(variant.name)
    place = path.with_suffix(f".{getattr(judge, '__name__', 'judged')}.json")
    if not place.exists():
        _write(place, json.dumps(judge(job.spec.prompt, load_frames(path))).encode())
    row: ResultRow = json.loads(place.read_text())
    return row


def _video(job: Job, variant: Variant, maker: VideoMaker) -> MadeVideo:
    path, low = job.video(variant.name), job.video("low")
    if not path.exists():
        if not low.exists():
            _write_video(low, MadeVideo(maker.low(job.spec), ()))
        _write_video(path, maker.make(variant, job.spec, load_frames(low)))
    with np.load(path) as file:
        return MadeVideo(file["frames"], tuple(map(int, file["borders"])))


def _write_video(path: Path, video: MadeVideo) -> None:
    part = path.with_suffix(".part.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(part, frames=video.frames, borders=np.array(video.borders, int))
    part.replace(path)


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    part.replace(path)
