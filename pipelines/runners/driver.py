"""The driver of the bulk job and of the endpoint: runs videos on the actors of a cluster.

    video ──► RayRunner ──► chunks, boundaries, segments ──► hooks ──► WriterQueue ──► files
              base, refiner actors                                     writer actors

It sees handles and receipts, never a frame. A subclass adds its policy: the jobs that follow from a chunk, a segment or
the end of a job, and what happens to a video that fails.

1. A chunk that is on disk is read, not made again; one that cannot be read is made.
2. A video that loses data with a machine restarts, at most `max_attempts` times.
3. A failed video does not affect the others.
4. No task is started while the writers are behind.
"""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool
from longtake.models.domain.scheduler import StageName, Task
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.ray_runner import Event, RayRunner, SegmentFinal, TaskDone, VideoFailed
from longtake.pipelines.runners.writer_queue import JobResult, WriterJob, WriterQueue

logger = logging.getLogger(__name__)
V = TypeVar("V")  # the subclass's record of a video in progress

# Segments of 720p are 44 MB, the boundaries of one step 2 MB: fewer of the first may wait than of all jobs together.
JOBS_PER_SEGMENT = 4


class VideoDriver(ABC, Generic[V]):
    """Subclasses submit to `_runner`, put into `_jobs`, and keep their videos in `_videos` by id."""

    segment_method: str  # of the writer jobs that hold a segment

    def __init__(self, conf: Conf, pools: Mapping[str, Pool], max_segments: int) -> None:
        """Rule 4 holds when more than `max_segments` segments, or JOBS_PER_SEGMENT times as many jobs, wait."""
        self._max_segments, self._max_attempts = max_segments, conf.ray.max_attempts
        self._pools, self._writer = pools, pools["writer"]
        self._calls = Calls(list(pools.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s)
        self._runner = RayRunner(conf, pools, self._calls, self._detour)
        self._jobs = WriterQueue(self._writer, self._calls, self._max_attempts)
        self._videos: dict[str, V] = {}
        self._num_losses: Counter[str] = Counter()  # of each video: rule 2
        self._num_repeats: Counter[str] = Counter()  # of each video: jobs, and tasks before it restarted

    @abstractmethod
    def _chunk_file(self, video: V, index: int) -> str | None:
        """Path of the file of a chunk, if there is one."""

    @abstractmethod
    def _chunk_unreadable(self, video: V, index: int) -> None:
        """The chunk is made from now on."""

    def _accepts(self, video: V, outcome: Outcome) -> bool:
        """Whether the runner may have the outcome of a task now; else the subclass reports it later, or never."""
        return True

    @abstractmethod
    def _task_done(self, video: V, event: TaskDone) -> None: ...

    @abstractmethod
    def _segment_final(self, video: V, event: SegmentFinal) -> None: ...

    @abstractmethod
    def _job_done(self, video: V | None, result: JobResult) -> None:
        """`video` is None if the job belongs to none, or is unwanted."""

    @abstractmethod
    def _job_raised(self, video: V | None, result: JobResult) -> None:
        """`video` as in `_job_done`."""

    @abstractmethod
    def _resubmit(self, video: V, lost: WriterJob | None) -> None:
        """Submits the video once more; `lost` is the job, if it was one, whose argument or result died."""

    @abstractmethod
    def _fail(self, video: V, why: str) -> None:
        """Forgets the video, which cannot be made."""

    def hand_out(self, tasks: bool = True) -> None:
        """Starts what can be started; without `tasks`, only jobs of the writers."""
        jobs = self._jobs.num_waiting()
        if tasks and self._waiting_segments <= self._max_segments and jobs <= JOBS_PER_SEGMENT * self._max_segments:
            self._runner.hand_out()  # before the jobs: a chunk that is read needs a writer at once
        self._jobs.hand_out()

    def take_in(self, timeout_s: float) -> None:
        """Handles what has ended, after at most `timeout_s`. Raises RuntimeError when a pool is dead."""
        for outcome in self._calls.wait(timeout_s):
            subject = outcome.call.subject
            if isinstance(subject, WriterJob):
                self._job_ended(self._jobs.take_in(outcome))
            elif self._runner.runs(subject):  # else it was cancelled, or has restarted
                self._task_ended(subject, outcome)

    @property
    def _waiting_segments(self) -> int:
        return self._jobs.num_waiting(self.segment_method)

    @property
    def _waiting_frames(self) -> int:
        """Low-resolution frames between the stages, of all videos."""
        return sum(self._runner.waiting_frames.values())

    def _repeats(self, video_id: str) -> int:
        """Number of calls of a video that were made again, and of its restarts."""
        return self._num_repeats[video_id] + self._runner.attempts(video_id)

    def _report(self, outcome: Outcome) -> None:
        """Tells the runner of a task that has ended."""
        for event in self._runner.take_in(outcome):
            self._handle(event)

    def _forget(self, video_id: str) -> None:
        """Ends the work on a video. Running calls are left to end; they take seconds."""
        self._cancel(video_id)
        self._videos.pop(video_id, None)
        del self._num_losses[video_id], self._num_repeats[video_id]

    def _restart(self, video_id: str, why: str, lost: WriterJob | None = None) -> None:
        """After a part of the video died with a machine: rule 2."""
        video = self._videos[video_id]
        self._num_losses[video_id] += 1
        count = self._num_losses[video_id]
        logger.warning("video restarted id=%s losses=%d reason=%s", video_id, count, why)
        if count >= self._max_attempts:
            return self._fail(video, f"parts of it were lost {count} times: {why}")
        self._num_repeats[video_id] += 1 + self._runner.attempts(video_id)  # the runner forgets its own
        self._cancel(video_id)
        self._resubmit(video, lost)

    def _cancel(self, video_id: str) -> None:
        self._runner.cancel(video_id)
        self._jobs.drop(video_id)

    def _detour(self, task: Task) -> tuple[Pool, str, tuple[Any, ...]] | None:
        """Rule 1."""
        if task.stage is not StageName.GENERATE:
            return None
        path = self._chunk_file(self._videos[task.video_id], task.index)
        return None if path is None else (self._writer, "load_chunk", (path,))

    def _task_ended(self, task: Task, outcome: Outcome) -> None:
        video = self._videos[task.video_id]
        if outcome.fate is Fate.RAISED and outcome.call.pool is self._writer:  # rule 1
            logger.warning("chunk unreadable id=%s index=%d reason=%s", task.video_id, task.index, outcome.why)
            self._chunk_unreadable(video, task.index)
            outcome = replace(outcome, fate=Fate.LOST)
        if outcome.fate is Fate.MISSING:
            self._restart(task.video_id, outcome.why)
        elif self._accepts(video, outcome):
            self._report(outcome)

    def _handle(self, event: Event) -> None:
        if isinstance(event, VideoFailed):
            self._num_repeats[event.video_id] += event.attempts
            self._fail(self._videos[event.video_id], event.reason)
        elif isinstance(event, SegmentFinal):
            self._segment_final(self._videos[event.video_id], event)
        else:
            self._task_done(self._videos[event.task.video_id], event)

    def _job_ended(self, result: JobResult) -> None:
        video_id = result.job.video_id
        video = self._videos.get(video_id) if result.wanted else None
        if result.fate is Fate.DONE:
            self._job_done(video, result)
        elif result.fate is Fate.RAISED:
            self._job_raised(video, result)
        elif video is not None and result.fate is Fate.LOST:
            self._num_repeats[video_id] += 1
        elif video is not None:
            self._restart(video_id, result.why, result.job)
