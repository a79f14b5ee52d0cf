"""The loop of a bulk job: rows of prompts in, finished videos and their records out.

The driver reads rows, keeps a few videos in work, and starts calls; it sees handles and receipts, never a frame.

    rows ──► RayRunner ──► final segments ──► encode ──► commit: file whole, then record ──► parts of the manifest
              base, refiner actors             errands of the writer actors

With limits on quality a chunk that was made or read is measured by a writer before the runner hears of it: neither the
next chunk nor a window over it is begun until it has passed. A video that breaks a limit, or whose frames cannot be
shown, ends there with all that was begun of it. Windows before may have been refined by then: both stages overlap.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool, reason
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Stage, Task
from longtake.models.metrics.quality import OnFailure
from longtake.models.video.frame_checks import BadFrames
from longtake.pipelines.bulk.records import Observe, Records, Tally
from longtake.pipelines.bulk.rows import Rows
from longtake.pipelines.bulk.settings import BulkConf, Format
from longtake.pipelines.bulk.video import BulkVideo, Slot, begin, empty_row
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.datasets.prompt_rows import Row
from longtake.pipelines.runners.ray_runner import Event, RayRunner, SegmentFinal, TaskDone, VideoFailed
from longtake.pipelines.runners.writer_queue import Ended, Errand, Errands

logger = logging.getLogger(__name__)


class BulkJob:
    """One run of a bulk job in pools that are proven."""

    def __init__(
        self,
        conf: BulkConf,
        bundle_sha256: str,
        pools: dict[str, Pool],
        rows: Rows,
        checkpoints: set[str],
        observe: Observe,
    ) -> None:
        """`observe(tally, event)` is called for every task that was run and every row that is finished."""
        self._conf, self._bundle_sha256, self._rows, self._observe = conf, bundle_sha256, rows, observe
        self._writer = pools["writer"]
        self._calls = Calls(list(pools.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s)
        self._runner = RayRunner(conf, pools, self._calls, self._detour)
        self._errands = Errands(self._writer, self._calls, conf.ray.max_attempts)
        self._checkpoints = checkpoints
        self._videos: dict[str, BulkVideo] = {}
        self._stop_s: float | None = None  # when a job that was told to stop gives up, by the monotonic clock
        self.tally = Tally()
        self._records = Records(conf, self._errands, self.tally, observe)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Works until every row is finished, or `stopping`. Raises RuntimeError when nothing can be written."""
        while not stopping():
            self._fill()
            if self._errands.num_waiting("encode") <= self._conf.waiting_segments:
                self._runner.hand_out()
            self._errands.hand_out()
            if not self._calls:
                if self._rows.exhausted and not self._videos:
                    break
                time.sleep(0.01)  # nothing runs and nothing is ready: rows are still being read
            self._take_in(0.2)
        self._drain(stopping)

    def _drain(self, stopping: Callable[[], bool]) -> None:
        """Commits the videos that are whole; gives up after `drain_s` when the job was told to stop."""
        for video_id in [video_id for video_id, video in self._videos.items() if not video.is_asked]:
            self._forget(video_id)
        self._write_all(stopping)
        if not stopping():
            self._records.close()
        self._errands.put(Errand("compact", (1,)))
        self._write_all(stopping)
        if not stopping() and self._conf.format is Format.VIDEOFOLDER:
            self._errands.put(Errand("metadata", ()))
            self._write_all(stopping)

    def _write_all(self, stopping: Callable[[], bool]) -> None:
        """Runs the errands, and waits for them; for `drain_s` in all once the job has to stop."""
        while self._errands.busy:
            if stopping():
                self._stop_s = self._stop_s or time.monotonic() + self._conf.drain_s
                if time.monotonic() > self._stop_s:
                    return
            self._errands.hand_out()
            self._take_in(0.2)

    def _fill(self) -> None:
        while self._has_room and (row := self._rows.next()) is not None:
            try:
                spec = self._rows.request(row)
                if not self._skip(spec.video_id, row):
                    self._begin(spec, row)
            except ValueError as error:
                if not self._skip(row.source, row):
                    self._refuse(row, str(error))
        self.tally.total = self._rows.total

    @property
    def _has_room(self) -> bool:
        """For one more row. A bad one is no video, but its record waits for a writer: those are bounded too."""
        return len(self._videos) < self._conf.in_flight and self._errands.num_waiting() <= self._conf.waiting_segments

    def _skip(self, row_id: str, row: Row) -> bool:
        """An earlier run has finished it."""
        finished = self._rows.finished(row_id)
        if finished:
            self._records.skip(row.ordinal)
        return finished

    def _begin(self, spec: PromptSpec, row: Row) -> None:
        own = for_video(self._conf, spec.settings)
        plan = self._runner.submit(spec, own)
        self._videos[spec.video_id] = begin(spec, plan, row, self._conf, own, self._bundle_sha256)

    def _refuse(self, row: Row, why: str) -> None:
        """A row that cannot become a video. Its own id may be the reason, so it is named by its place."""
        prompt = (row.fields or {}).get("prompt")
        self._records.fail(empty_row(row.source, prompt if isinstance(prompt, str) else None, row), why)

    def _take_in(self, timeout_s: float) -> None:
        for outcome in self._calls.wait(timeout_s):
            if isinstance(outcome.call.subject, Errand):
                self._ended(self._errands.take_in(outcome))
            else:
                self._report(self._read(outcome))
        self.tally.in_flight = len(self._videos)
        self.tally.waiting_frames = sum(self._runner.waiting_frames.values())
        self.tally.waiting_segments = self._errands.num_waiting("encode")

    def _report(self, outcome: Outcome) -> None:
        """What became of a task, for the runner, to whom a chunk is done only when it has passed the gate."""
        task, quality = outcome.call.subject, self._conf.quality
        video = self._videos.get(task.video_id) if self._runner.runs(task) else None
        if video is not None and isinstance(outcome.error, BadFrames):
            self._reject(video, outcome.why)
        elif video is not None and outcome.fate is Fate.DONE and task.stage is Stage.GENERATE and quality.has_limits:
            self._errands.put(video.measure(outcome), first=True)
        else:
            for event in self._runner.take_in(outcome):
                self._event(event)

    def _measured(self, video: BulkVideo, ended: Ended) -> None:
        outcome: Outcome = ended.errand.about
        if not self._runner.runs(outcome.call.subject):
            return  # the video began anew meanwhile
        try:
            video.learn(ray.get(ended.first), ended.second)
        except RayError as error:
            return self._missing(video, replace(ended, why=reason(error)))
        why = video.judged(self._conf.quality)
        if why is not None and self._conf.quality.on_failure is not OnFailure.FLAG:
            assert outcome.receipt is not None
            video.seconds[Stage.GENERATE] += outcome.receipt.seconds
            return self._reject(video, why)
        for event in self._runner.take_in(outcome):
            self._event(event)

    def _reject(self, video: BulkVideo, why: str) -> None:
        """What is made of it ends at once; with quality.on_failure=reseed it begins again, with another seed."""
        video_id, quality = video.spec.video_id, self._conf.quality
        retries = self._runner.attempts(video_id)
        self.tally.rejected += 1
        video.rejected = video.tried(why)
        if quality.on_failure is not OnFailure.RESEED or len(video.rejected) > quality.max_reseeds:
            return self._fail(video_id, why, retries)
        logger.warning("video rejected id=%s seed=%d reason=%s", video_id, video.spec.seed, why)
        self._forget(video_id)
        again = video.reseeded(retries)
        self._runner.submit(again.spec, for_video(self._conf, again.spec.settings))
        self._videos[video_id] = again

    def _read(self, outcome: Outcome) -> Outcome:
        """A checkpoint that cannot be read costs the call: the chunk is made instead."""
        if outcome.call.pool is not self._writer or outcome.fate is not Fate.RAISED:
            return outcome
        task: Task = outcome.call.subject
        logger.warning("checkpoint unreadable id=%s chunk=%d reason=%s", task.video_id, task.index, outcome.why)
        if task.video_id in self._videos:
            self._checkpoints.discard(self._videos[task.video_id].checkpoint(task.index))
        return replace(outcome, fate=Fate.LOST)

    def _event(self, event: Event) -> None:
        if isinstance(event, VideoFailed):
            self._fail(event.video_id, event.reason, event.attempts)
        elif isinstance(event, SegmentFinal):
            self._encode(self._videos[event.video_id], Slot("video", event.index), event.segment)
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
                self._encode(video, Slot("preview", task.index), event.output)
            path = video.checkpoint(task.index)
            if generated and self._conf.checkpoint_chunks and path not in self._checkpoints:
                self._errands.put(Errand("save_chunk", (path, event.carry, event.output), task.video_id))
        self._observe(self.tally, event)

    def _encode(self, video: BulkVideo, slot: Slot, piece: Any) -> None:
        errand = video.encode(slot, piece)
        if errand is not None:
            self._errands.put(errand)

    def _ended(self, ended: Ended) -> None:
        method, video = ended.errand.method, self._videos.get(ended.errand.video_id)
        if ended.fate is Fate.LOST and video is not None:
            video.retries += 1
        elif ended.fate is Fate.RAISED:
            self._raised(ended)
        elif ended.fate is Fate.DONE and method in ("commit", "record"):
            self._finished(ended)  # also of a video that began anew since: it is finished all the same
        elif ended.fate is Fate.DONE and method == "sample":
            self._records.sampled(ended)
        elif ended.fate is Fate.DONE and method == "encode" and ended.wanted and video is not None:
            self._encoded(video, ended)
        elif ended.fate is Fate.DONE and method == "measure" and ended.wanted and video is not None:
            self._measured(video, ended)
        elif ended.fate is Fate.MISSING and ended.wanted and video is not None:
            self._missing(video, ended)

    def _raised(self, ended: Ended) -> None:
        """A piece that cannot be encoded or measured ends its video; a place that cannot be written to ends the job."""
        if ended.errand.method == "sample":
            logger.warning("sample not tracked path=%s reason=%s", ended.errand.args[0], ended.why)
        elif ended.errand.method not in ("encode", "measure"):
            raise RuntimeError(f"out={self._conf.out}: {ended.why}")
        elif ended.wanted:
            self._fail(ended.errand.video_id, ended.why, 0)

    def _encoded(self, video: BulkVideo, ended: Ended) -> None:
        assert ended.receipt is not None
        video.encoded(ended.errand.about, ended.first, ended.second, ended.receipt.seconds)
        if video.is_encoded:
            flagged = video.judged(self._conf.quality)
            self._errands.put(video.commit(self._runner.attempts(video.spec.video_id), flagged))

    def _missing(self, video: BulkVideo, ended: Ended) -> None:
        """A segment or a fragment died with a machine: its video gives it again."""
        video.begin_anew(keep=ended.errand.method != "commit")  # which of the fragments it was is not said
        self._errands.drop(video.spec.video_id)  # what else was lost of it is not counted again
        for event in self._runner.again(video.spec.video_id, ended.why):
            self._event(event)

    def _finished(self, ended: Ended) -> None:
        row: VideoRow = ended.errand.args[0]
        with suppress(RayError):  # what it says more, the hash, is in the record
            row = ray.get(ended.first)
        self._forget(row.id)
        self._records.finished(row)

    def _fail(self, video_id: str, why: str, attempts: int) -> None:
        video = self._videos[video_id]
        self._forget(video_id)
        quality = json.dumps(video.rejected) if video.rejected else None
        self._records.fail(replace(video.row, attempts=1 + video.retries + attempts, quality=quality), why)

    def _forget(self, video_id: str) -> None:
        self._runner.cancel(video_id)
        self._errands.drop(video_id)
        self._videos.pop(video_id, None)

    def _detour(self, task: Task) -> tuple[Pool, str, tuple[Any, ...]] | None:
        """A chunk that an earlier run kept is read instead of made."""
        if task.stage is not Stage.GENERATE or not self._writer.num_idle:
            return None
        path = self._videos[task.video_id].checkpoint(task.index)
        return (self._writer, "load_chunk", (path,)) if path in self._checkpoints else None
