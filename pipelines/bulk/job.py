"""The loop of a bulk job: rows of prompts in, finished videos and their records out.

    rows ──► VideoDriver ──► final segments ──► encode ──► commit: files whole, then record ──► parts of the manifest
             base, refiner actors               jobs of the writer actors

With limits on quality, a writer measures each chunk before the runner gets it: neither the next chunk nor a
window over it begins before it has passed. A video that breaks a limit, or whose frames cannot be shown, ends there
with all its work. Earlier windows may have been refined by then: both stages overlap.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from longtake.actors.calls import Fate, Outcome
from longtake.actors.pool import Pool, reason
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import StageName
from longtake.models.metrics.quality import OnFailure
from longtake.models.video.frame_checks import BadFrames
from longtake.pipelines.bulk.records import Observe, Records, Tally
from longtake.pipelines.bulk.rows import Rows
from longtake.pipelines.bulk.settings import BulkConf, Format
from longtake.pipelines.bulk.video import BulkVideo, Slot, failed_row
from longtake.pipelines.datasets.continued_videos import UnreadableVideo
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.runners.driver import VideoDriver
from longtake.pipelines.runners.existing_video import resume_from
from longtake.pipelines.runners.ray_runner import SegmentFinal, TaskDone
from longtake.pipelines.runners.writer_queue import JobResult, WriterJob

logger = logging.getLogger(__name__)
OF_ONE_VIDEO = ("encode", "encode_own", "measure", "read_clip")  # jobs that only their own video can make fail


class BulkJob(VideoDriver[BulkVideo]):
    """One run of a bulk job on warmed-up pools."""

    segment_method = "encode"

    def __init__(
        self,
        conf: BulkConf,
        pools: dict[str, Pool],
        rows: Rows,
        tally: Tally,
        shards: Counter[int],
        chunk_files: set[str],
        observe: Observe,
    ) -> None:
        """`rows` are left to make; `tally` counts the others, and `shards` has the number of rows that each shard waits
        for. `chunk_files` are those that an earlier run left. `observe(tally, event)` is called for every task that was
        run, every row that is finished, and every sample."""
        super().__init__(conf, pools, conf.waiting_segments)
        self._conf, self._rows, self._chunk_files, self._observe = conf, rows, chunk_files, observe
        self._stop_s: float | None = None  # deadline after a stop request, by the monotonic clock
        self.tally = tally
        self._frames_to_begin = tally.frames_left
        self._records = Records(conf, self._jobs, tally, shards, observe)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Works until every row is finished, or `stopping`. Raises RuntimeError when the folder cannot be written."""
        while not stopping():
            self._fill()
            self.hand_out()
            if not self._calls:
                if self._rows.exhausted and not self._videos:
                    break
                time.sleep(0.01)  # rows are still being read
            self._turn()
        self._drain(stopping)

    def _drain(self, stopping: Callable[[], bool]) -> None:
        """Commits the videos whose pieces are all there; gives up after `drain_s` when the job was told to stop."""
        for video in [video for video in self._videos.values() if not video.is_generated]:
            self._forget(video.id)
        self._write_all(stopping)
        if not stopping():
            self._records.close()
        self._jobs.put(WriterJob("compact", (1,)))
        self._write_all(stopping)
        if self._conf.format is Format.VIDEOFOLDER:
            self._jobs.put(WriterJob("metadata", ()))
            self._write_all(stopping)

    def _write_all(self, stopping: Callable[[], bool]) -> None:
        """Runs all jobs of the writers; for `drain_s` in total once the job has to stop."""
        while self._jobs.busy:
            if stopping():
                self._stop_s = self._stop_s or time.monotonic() + self._conf.drain_s
                if time.monotonic() > self._stop_s:
                    return
            self.hand_out(tasks=False)
            self._turn()

    def _fill(self) -> None:
        while self._has_room and (row := self._rows.next()) is not None:
            self._frames_to_begin -= row.num_frames or 0
            if isinstance(row, BulkVideo):
                if notes := row.row.image_notes or row.row.extends_notes:
                    logger.warning("video converted id=%s source=%s: %s", row.id, row.row.source, notes)
                self._begin(row)
            else:
                self._records.fail(row)

    @property
    def _has_room(self) -> bool:
        """For one more row. The record of an invalid one waits for a writer: those are bounded too."""
        is_behind = self._jobs.num_waiting() > self._conf.waiting_segments
        return len(self._videos) < self._conf.in_flight and not is_behind

    def _begin(self, video: BulkVideo) -> None:
        self._videos[video.id] = video
        if video.continuation is not None:
            return self._jobs.put(WriterJob("read_clip", (video.continuation,), video.id))
        try:
            picture = video.picture()
        except ValueError as error:
            return self._fail(video, str(error))
        self._submit(video, None if picture is None else Resume(0, 0, picture=ray.put(picture)))

    def _continue(self, video: BulkVideo, clip: Any) -> None:
        """Begins the new frames of a continuation, and one by one the fragments of the video itself."""
        assert video.continuation is not None, "only a continuation has a clip"
        video.clip = clip
        self._submit(video, resume_from(video.continuation.extension, clip))
        self._encode_own(video)

    def _submit(self, video: BulkVideo, resume: Resume | None) -> None:
        self._runner.submit(video.spec, video.conf, video.plan, resume)

    def _encode_own(self, video: BulkVideo) -> None:
        if (job := video.encode_own()) is not None:
            self._jobs.put(job)

    def _turn(self) -> None:
        self.take_in(0.2)
        self.tally.in_flight = len(self._videos)
        self.tally.frames_left = self._frames_left
        self.tally.waiting_frames = self._waiting_frames
        self.tally.waiting_segments = self._waiting_segments

    @property
    def _frames_left(self) -> float:
        return self._frames_to_begin + sum(video.frames_left for video in self._videos.values())

    def _chunk_file(self, video: BulkVideo, index: int) -> str | None:
        path = video.chunk_path(index)
        return path if path in self._chunk_files else None

    def _chunk_unreadable(self, video: BulkVideo, index: int) -> None:
        self._chunk_files.discard(video.chunk_path(index))

    def _accepts(self, video: BulkVideo, outcome: Outcome) -> bool:
        """The gate on quality: a chunk is measured first."""
        if isinstance(outcome.error, BadFrames):
            self._reject(video, outcome.why)
            return False
        task = outcome.call.subject
        generated = outcome.fate is Fate.DONE and task.stage is StageName.GENERATE and video.makes(task)
        if generated and self._conf.quality.has_limits:
            self._jobs.put(video.measure(outcome), first=True)
            return False
        return True

    def _task_done(self, video: BulkVideo, event: TaskDone) -> None:
        task = event.task
        video.seconds[task.stage] += event.receipt.seconds
        if not video.makes(task):
            return
        if task.stage is StageName.GENERATE:
            self.tally.chunks += 1
            if video.row.preview is not None:
                self._encode(video, Slot("preview", task.index), event.output)
            path = video.chunk_path(task.index)
            if self._conf.checkpoint_chunks and path not in self._chunk_files:
                self._jobs.put(WriterJob("save_chunk", (path, event.carry, event.output), video.id))
        elif task.steps is not None:
            self.tally.windows += task.steps.start == 0
            video.cells += len(task.steps)
            self.tally.frames_left = self._frames_left
        self._observe(self.tally, event)

    def _segment_final(self, video: BulkVideo, event: SegmentFinal) -> None:
        if (job := video.encode_segment(event.index, event.segment)) is not None:
            self._jobs.put(job)

    def _job_done(self, video: BulkVideo | None, result: JobResult) -> None:
        method = result.job.method
        if method in ("commit", "record"):
            self._finished(result)  # also of a video that restarted meanwhile: it is finished all the same
        elif method == "sample":
            self._records.sampled(result)
        elif method in ("encode", "encode_own") and video is not None:
            self._encoded(video, result)
        elif method == "read_clip" and video is not None:
            self._continue(video, result.carry)
        elif method == "measure" and video is not None:
            self._measured(video, result)

    def _job_raised(self, video: BulkVideo | None, result: JobResult) -> None:
        """A piece that cannot be read, encoded or measured ends its video; a folder that cannot be written, the job."""
        if result.job.method == "sample":
            logger.warning("sample not tracked path=%s reason=%s", result.job.args[0], result.why)
        elif result.job.method not in OF_ONE_VIDEO and not isinstance(result.error, UnreadableVideo):
            raise RuntimeError(f"out={self._conf.out}: {result.why}")
        elif video is not None:
            self._fail(video, result.why)

    def _resubmit(self, video: BulkVideo, lost: WriterJob | None) -> None:
        """A commit does not say which of the fragments it lacked, so it gets all of them again."""
        video.begin_again(keep=lost is None or lost.method != "commit")
        if video.is_encoded:  # it only waited for its commit
            self._commit(video)
        else:
            self._begin(video)

    def _fail(self, video: BulkVideo, why: str) -> None:
        attempts = 1 + video.retries + self._repeats(video.id)
        self._forget(video.id)
        quality = json.dumps(video.rejected) if video.rejected else None
        self._records.fail(failed_row(replace(video.row, attempts=attempts, quality=quality), why))

    def _encode(self, video: BulkVideo, slot: Slot, piece: Any) -> None:
        if (job := video.encode(slot, piece)) is not None:
            self._jobs.put(job)

    def _encoded(self, video: BulkVideo, result: JobResult) -> None:
        assert result.receipt is not None
        video.encoded(result.job.subject, result.carry, result.output, result.receipt.seconds)
        if result.job.method == "encode_own":
            self._encode_own(video)
        if video.is_encoded:
            self._commit(video)

    def _commit(self, video: BulkVideo) -> None:
        flagged = video.broken_limit(self._conf.quality)
        self._jobs.put(video.commit(self._repeats(video.id), flagged))

    def _measured(self, video: BulkVideo, result: JobResult) -> None:
        outcome: Outcome = result.job.subject
        try:
            video.add_measurement(ray.get(result.carry), result.output)
        except RayError as error:
            return self._restart(video.id, reason(error), result.job)
        why = video.broken_limit(self._conf.quality)
        if why is not None and self._conf.quality.on_failure is not OnFailure.FLAG:
            assert outcome.receipt is not None
            video.seconds[StageName.GENERATE] += outcome.receipt.seconds
            return self._reject(video, why)
        self._report(outcome)

    def _reject(self, video: BulkVideo, why: str) -> None:
        """Ends the work on a video; with quality.on_failure=reseed it restarts with another seed."""
        quality = self._conf.quality
        self.tally.rejected += 1
        video.rejected = video.seeds_tried(why)
        if quality.on_failure is not OnFailure.RESEED or len(video.rejected) > quality.max_reseeds:
            return self._fail(video, why)
        logger.warning("video rejected id=%s seed=%d reason=%s", video.id, video.spec.seed, why)
        again = video.reseeded(self._repeats(video.id))
        self._forget(video.id)
        self._begin(again)

    def _finished(self, result: JobResult) -> None:
        row: VideoRow = result.job.args[0]
        with suppress(RayError):  # the record has what it adds: the hash
            row = ray.get(result.carry)
        self._forget(row.id)
        self._records.finished(row)
