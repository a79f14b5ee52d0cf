"""The loop of a bulk job: rows of prompts in, finished videos and their records out.

The driver reads rows, keeps a few videos in work, and starts calls; it sees handles and receipts, never a frame.

    rows ──► RayRunner ──► final segments ──► encode ──► commit: file whole, then record ──► parts of the manifest
              base, refiner actors             writer actors
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from json import dumps
from typing import Any

import ray
from ray.exceptions import RayError

from actors.calls import Calls, Fate, Outcome
from actors.pool import Pool
from models.plan import Plan
from models.prompt import PromptSpec
from models.scheduler import Stage, Task
from pipelines.archive import checkpoint_path
from pipelines.bulk_params import BulkConf, Format, video_settings
from pipelines.bulk_rows import Rows
from pipelines.config import for_video
from pipelines.distributed import Event, RayRunner, SegmentFinal, TaskDone, VideoFailed
from pipelines.manifest import VideoRow, safe_name, shard_of
from pipelines.prompts import Row
from pipelines.shards import member_of

logger = logging.getLogger(__name__)
COMPACT_ROWS = 500
SAMPLES = 4  # videos that go to the tracking server


@dataclass(frozen=True, slots=True)
class Job:
    """What the writer is to do: a method of the Archive and its arguments. `video_id` is whose it is, if anyone's."""

    method: str
    args: tuple[Any, ...]
    video_id: str = ""
    place: tuple[str, int] = ("", 0)  # of a fragment: video or preview, and its index
    run: int = 0  # of the video, which begins anew when parts of it died with a machine
    attempts: int = 0


@dataclass(slots=True, eq=False)
class _Video:
    """A video in work, as the driver knows it."""

    spec: PromptSpec
    plan: Plan
    row: VideoRow
    fps: int
    wanted: int  # fragments
    fragments: dict[tuple[str, int], Any] = field(default_factory=dict)  # references to bytes
    asked: set[tuple[str, int]] = field(default_factory=set)  # fragments that are encoded or waiting to be
    thumbnail: Any = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*Stage, "encode"), 0.0))
    retries: int = 0
    run: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished video to be looked at, and its contact sheet (PNG)."""

    path: str
    video: bytes
    sheet: bytes


@dataclass(slots=True)
class Tally:
    """How far the job is."""

    total: int | None = None  # rows, once all are read
    skipped: int = 0  # finished by an earlier run
    done: int = 0
    failed: int = 0
    chunks: int = 0
    windows: int = 0
    frames: int = 0  # of finished videos
    in_flight: int = 0
    waiting_frames: int = 0
    waiting_segments: int = 0

    @property
    def finished(self) -> int:
        return self.skipped + self.done + self.failed


class BulkJob:
    """One run of a bulk job in pools that are proven."""

    def __init__(
        self,
        conf: BulkConf,
        bundle_sha256: str,
        pools: dict[str, Pool],
        rows: Rows,
        checkpoints: set[str],
        observe: Callable[[Tally, Any], None],
    ) -> None:
        """`observe(tally, event)` is called for every task that was run and every row that is finished."""
        self._conf, self._bundle_sha256, self._rows, self._observe = conf, bundle_sha256, rows, observe
        self._writer = pools["writer"]
        self._calls = Calls(list(pools.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s)
        self._runner = RayRunner(conf, pools, self._calls, self._detour)
        self._checkpoints = checkpoints
        self._jobs: deque[Job] = deque()
        self._videos: dict[str, _Video] = {}
        self._shards: Counter[int] = Counter()  # rows that are finished, of shards that are not whole yet
        self._recorded = 0  # since the last compaction
        self._samples = SAMPLES if conf.tracking.enabled else 0  # still wanted
        self._stop_s: float | None = None  # when a job that was told to stop gives up, by the monotonic clock
        self.tally = Tally()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Works until every row is finished, or `stopping`. Raises RuntimeError when nothing can be written."""
        while not stopping():
            self._fill()
            if self._waiting_segments() <= self._conf.waiting_segments:
                self._runner.hand_out()
            self._write()
            if not self._calls:
                if self._rows.exhausted and not self._videos:
                    break
                time.sleep(0.01)  # nothing runs and nothing is ready: rows are still being read
            self._take_in(0.2)
        self._drain(stopping)

    def _drain(self, stopping: Callable[[], bool]) -> None:
        """Commits the videos that are whole; gives up after `drain_s` when the job was told to stop."""
        whole = {video_id for video_id, video in self._videos.items() if len(video.asked) == video.wanted}
        for video_id in set(self._videos) - whole:
            self._forget(video_id)
        self._write_all(stopping)
        if not stopping():
            self._pack_rest()
        self._jobs.append(Job("compact", (1,)))
        self._write_all(stopping)
        if not stopping() and self._conf.format is Format.VIDEOFOLDER:
            self._jobs.append(Job("metadata", ()))
            self._write_all(stopping)

    def _write_all(self, stopping: Callable[[], bool]) -> None:
        """Makes the writer's calls that are waiting, and waits for them; for `drain_s` in all once it has to stop."""
        while self._jobs or self._calls.running(self._writer):
            if stopping():
                self._stop_s = self._stop_s or time.monotonic() + self._conf.drain_s
                if time.monotonic() > self._stop_s:
                    return
            self._write()
            self._take_in(0.2)

    def _fill(self) -> None:
        while len(self._videos) < self._conf.in_flight and (row := self._rows.next()) is not None:
            try:
                spec = self._rows.request(row)
                if not self._skip(spec.video_id, row):
                    self._begin(spec, row)
            except ValueError as error:
                if not self._skip(row.source, row):
                    self._refuse(row, str(error))
        self.tally.total = self._rows.total

    def _skip(self, row_id: str, row: Row) -> bool:
        """An earlier run has finished it."""
        finished = self._rows.finished(row_id)
        if finished:
            self.tally.skipped += 1
            self._count_shard(row.ordinal)
        return finished

    def _begin(self, spec: PromptSpec, row: Row) -> None:
        conf = for_video(self._conf, spec.settings)
        plan = self._runner.submit(spec)
        pieces = len(plan.segments) + (len(plan.chunks) if self._conf.previews else 0)
        self._videos[spec.video_id] = _Video(spec, plan, self._row(spec, row), conf.fps, pieces)

    def _refuse(self, row: Row, reason: str) -> None:
        """A row that cannot become a video. Its own id may be the reason, so it is named by its place."""
        prompt = (row.fields or {}).get("prompt")
        empty = _empty_row(row.source, prompt if isinstance(prompt, str) else None, row)
        self._jobs.append(Job("record", (self._failed(empty, reason),)))

    def _row(self, spec: PromptSpec, row: Row) -> VideoRow:
        conf = for_video(self._conf, spec.settings)
        name = safe_name(spec.video_id)
        shard = shard_of(spec.video_id)
        path = f"videos/{shard}/{name}.mp4"
        if self._conf.format is Format.WEBDATASET:
            path = member_of(row.ordinal // self._conf.shard_size, spec.video_id)
        return replace(
            _empty_row(spec.video_id, spec.prompt, row),
            negative_prompt=spec.negative_prompt,
            path=path,
            preview=f"previews/{shard}/{name}.mp4" if self._conf.previews else None,
            thumbnail=f"thumbnails/{shard}/{name}.jpg" if self._conf.thumbnails else None,
            num_frames=spec.num_frames,
            fps=float(conf.fps),
            width=conf.refiner.width,
            height=conf.refiner.height,
            seed=spec.seed,
            bundle=self._conf.bundle,
            bundle_sha256=self._bundle_sha256,
            settings=dumps(video_settings(conf), sort_keys=True),
        )

    def _take_in(self, timeout_s: float) -> None:
        for outcome in self._calls.wait(timeout_s):
            if isinstance(outcome.call.subject, Task):
                for event in self._runner.take_in(self._read(outcome)):
                    self._event(event)
            else:
                self._written(outcome)
        self.tally.in_flight = len(self._videos)
        self.tally.waiting_frames = sum(self._runner.waiting_frames.values())
        self.tally.waiting_segments = self._waiting_segments()

    def _read(self, outcome: Outcome) -> Outcome:
        """A checkpoint that cannot be read costs the call: the chunk is made instead."""
        if outcome.call.pool is not self._writer or outcome.fate is not Fate.RAISED:
            return outcome
        task: Task = outcome.call.subject
        logger.warning("checkpoint unreadable id=%s chunk=%d reason=%s", task.video_id, task.index, outcome.why)
        if task.video_id in self._videos:
            self._checkpoints.discard(self._checkpoint(self._videos[task.video_id], task.index))
        return replace(outcome, fate=Fate.LOST)

    def _event(self, event: Event) -> None:
        if isinstance(event, VideoFailed):
            self._fail(event.video_id, event.reason, event.attempts)
        elif isinstance(event, SegmentFinal):
            video = self._videos[event.video_id]
            self._encode(video, ("video", event.index), event.segment)
        else:
            self._ran(event)

    def _ran(self, event: TaskDone) -> None:
        task, video = event.task, self._videos.get(event.task.video_id)
        generated = task.stage is Stage.GENERATE
        self.tally.chunks += generated
        self.tally.windows += task.steps is not None and task.steps.start == 0
        if video is not None:
            video.seconds[task.stage] += event.receipt.seconds
            if generated and self._conf.previews:
                self._encode(video, ("preview", task.index), event.output)
            path = self._checkpoint(video, task.index)
            if generated and self._conf.checkpoint_chunks and path not in self._checkpoints:
                self._jobs.append(Job("save_chunk", (path, event.carry, event.output), task.video_id, run=video.run))
        self._observe(self.tally, event)

    def _encode(self, video: _Video, place: tuple[str, int], piece: Any) -> None:
        if place not in video.asked:  # a video that was begun anew gives its pieces again
            video.asked.add(place)
            args = (piece, video.fps, place[1], video.spec.num_frames)
            self._jobs.append(Job("encode", args, video.spec.video_id, place, video.run))

    def _write(self) -> None:
        """Starts writer calls; those of videos that are gone are dropped."""
        while self._jobs and self._writer.num_idle:
            job = self._jobs.popleft()
            if self._wanted(job):
                self._calls.start(self._writer, job.video_id, job, job.method, *job.args)

    def _wanted(self, job: Job) -> bool:
        """It is nobody's, or that of a video which has neither ended nor begun anew since."""
        video = self._videos.get(job.video_id)
        return not job.video_id or (video is not None and video.run == job.run)

    def _written(self, outcome: Outcome) -> None:
        job: Job = outcome.call.subject
        if outcome.fate is Fate.LOST:
            self._retry(job, outcome.why)
        elif outcome.fate is Fate.RAISED:
            self._refused(job, outcome.why)
        elif job.method in ("commit", "record") and outcome.fate is Fate.DONE:
            self._finished(job, outcome)
        elif job.method == "sample" and outcome.fate is Fate.DONE:
            self._sampled(job, outcome)
        elif not self._wanted(job):
            return
        elif outcome.fate is Fate.MISSING:
            self._missing(job, outcome.why)
        elif job.method == "encode":
            self._encoded(self._videos[job.video_id], job, outcome)

    def _refused(self, job: Job, why: str) -> None:
        """A piece that cannot be encoded ends its video; a place that cannot be written to ends the job."""
        if job.method == "sample":
            logger.warning("sample not tracked path=%s reason=%s", job.args[0], why)
        elif job.method != "encode":
            raise RuntimeError(f"out={self._conf.out}: {why}")
        elif self._wanted(job):
            self._runner.cancel(job.video_id)
            self._fail(job.video_id, why, 0)

    def _sampled(self, job: Job, outcome: Outcome) -> None:
        with suppress(RayError):  # it died with a machine: one sample fewer
            video, sheet = ray.get([outcome.call.first, outcome.call.second])
            self._observe(self.tally, Sample(job.args[0], video, sheet))

    def _encoded(self, video: _Video, job: Job, outcome: Outcome) -> None:
        assert outcome.receipt is not None
        video.fragments[job.place] = outcome.call.second
        video.seconds["encode"] += outcome.receipt.seconds
        if job.place == ("video", 0):
            video.thumbnail = outcome.call.first
        if len(video.fragments) == video.wanted:
            self._commit(video)

    def _commit(self, video: _Video) -> None:
        row = replace(
            video.row,
            status="done",
            generate_s=round(video.seconds[Stage.GENERATE], 3),
            refine_s=round(video.seconds[Stage.REFINE], 3),
            encode_s=round(video.seconds["encode"], 3),
            attempts=1 + video.retries + self._runner.attempts(video.spec.video_id),
            finished_at=datetime.now(UTC),
        )
        ordered = [video.fragments[place] for place in sorted(video.fragments, key=lambda p: (p[0] != "video", p[1]))]
        args = (row, len(video.plan.segments), video.thumbnail, *ordered)
        self._jobs.append(Job("commit", args, video.spec.video_id, run=video.run))

    def _finished(self, job: Job, outcome: Outcome) -> None:
        row: VideoRow = job.args[0]
        with suppress(RayError):  # what it says more, the hash, is in the record
            row = ray.get(outcome.call.first)
        self._forget(row.id)
        self.tally.done += row.status == "done"
        self.tally.failed += row.status == "failed"
        self.tally.frames += (row.num_frames or 0) if row.status == "done" else 0
        self._count_shard(row.ordinal)
        self._recorded += 1
        if self._recorded >= COMPACT_ROWS:
            self._recorded = 0
            self._jobs.append(Job("compact", (COMPACT_ROWS,)))
        self._observe(self.tally, row)
        if row.path is not None and self._samples:
            self._samples -= 1
            self._jobs.appendleft(Job("sample", (row.path, row.num_frames)))

    def _fail(self, video_id: str, why: str, attempts: int) -> None:
        video = self._videos[video_id]
        row = replace(video.row, attempts=1 + video.retries + attempts)
        self._forget(video_id)
        self._jobs.append(Job("record", (self._failed(row, why),)))

    def _failed(self, row: VideoRow, why: str) -> VideoRow:
        logger.warning("video failed id=%s source=%s reason=%s", row.id, row.source, why)
        row = replace(row, path=None, preview=None, thumbnail=None)
        return replace(row, status="failed", reason=why, finished_at=datetime.now(UTC))

    def _retry(self, job: Job, why: str) -> None:
        if job.attempts + 1 >= self._conf.ray.max_attempts:
            return self._refused(job, f"a writer's call {job.method} was tried {job.attempts + 1} times: {why}")
        self._jobs.appendleft(replace(job, attempts=job.attempts + 1))
        if job.video_id in self._videos:
            self._videos[job.video_id].retries += 1

    def _missing(self, job: Job, why: str) -> None:
        """A segment or a fragment died with a machine: its video gives it again."""
        if not job.video_id:
            return
        video = self._videos[job.video_id]
        if job.method == "commit":  # which of the fragments it was is not said
            video.fragments.clear()
        video.asked = set(video.fragments)
        video.run += 1  # what else was lost of it is not counted again
        video.retries += 1
        for event in self._runner.again(job.video_id, why):
            self._event(event)

    def _forget(self, video_id: str) -> None:
        self._runner.cancel(video_id)
        self._writer.forget(lambda key: key in (video_id, (video_id, None)))
        self._videos.pop(video_id, None)

    def _waiting_segments(self) -> int:
        return sum(job.method == "encode" for job in self._jobs)

    def _detour(self, task: Task) -> tuple[Pool, str, tuple[Any, ...]] | None:
        """A chunk that an earlier run kept is read instead of made."""
        if task.stage is not Stage.GENERATE or not self._writer.num_idle:
            return None
        path = self._checkpoint(self._videos[task.video_id], task.index)
        return (self._writer, "load_chunk", (path,)) if path in self._checkpoints else None

    def _checkpoint(self, video: _Video, index: int) -> str:
        assert video.row.settings is not None, "a video in work has them"
        return checkpoint_path(video.spec, video.row.settings, index)

    def _count_shard(self, ordinal: int) -> None:
        if self._conf.format is not Format.WEBDATASET:
            return
        shard = ordinal // self._conf.shard_size
        self._shards[shard] += 1
        if self._shards[shard] == self._conf.shard_size:
            del self._shards[shard]
            self._jobs.append(Job("pack", (shard, self._conf.shard_size)))

    def _pack_rest(self) -> None:
        for shard in self._shards:
            self._jobs.append(Job("pack", (shard, self._conf.shard_size)))


def _empty_row(video_id: str, prompt: str | None, row: Row) -> VideoRow:
    return VideoRow(id=video_id, prompt=prompt, source=row.source, ordinal=row.ordinal, status="failed")
