"""The driver of the bulk job and of the endpoint: keeps videos in work on the actors of a cluster.

    video ──► RayRunner ──► chunks, boundaries, segments ──► policy ──► WriterQueue ──► files
              base, refiner actors                       bulk, endpoint   writer actors

It sees handles and receipts, never a frame. Its owner is the policy: which jobs follow from a chunk, a segment or an
end, and how a video fails.

1. A chunk that is on disk is read, not made again; one that cannot be read is made.
2. A video that lost a part with a machine begins again, at most `max_attempts` times.
3. A video that fails ends alone.
4. While the writers are behind, no task is started.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool
from longtake.models.domain.scheduler import Stage, Task
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.ray_runner import Event, RayRunner, SegmentFinal, TaskDone, VideoFailed
from longtake.pipelines.runners.writer_queue import JobResult, WriterJob, WriterQueue

logger = logging.getLogger(__name__)
V = TypeVar("V")  # the owner's record of a video in work
V_contra = TypeVar("V_contra", contravariant=True)

# Segments of 720p are 44 MB, the boundaries of one step 2 MB: fewer of the first may wait than of all jobs together.
JOBS_PER_SEGMENT = 4


class VideoPolicy(Protocol[V_contra]):
    """The owner's part: all that differs between the bulk job and the endpoint."""

    segment_method: str  # of the writer jobs that hold a segment

    def kept_chunk(self, video: V_contra, index: int) -> str | None:
        """Path of the file of a chunk, if there is one."""
        ...

    def chunk_unreadable(self, video: V_contra, index: int) -> None:
        """The chunk is made from now on."""
        ...

    def passes(self, video: V_contra, outcome: Outcome) -> bool:
        """Whether the runner may take in the outcome of a task now; else the policy reports it later, or never."""
        ...

    def task_done(self, video: V_contra, event: TaskDone) -> None: ...

    def segment_final(self, video: V_contra, event: SegmentFinal) -> None: ...

    def job_done(self, video: V_contra | None, result: JobResult) -> None:
        """`video` is None if the job belongs to none, or is unwanted."""
        ...

    def job_raised(self, video: V_contra | None, result: JobResult) -> None:
        """`video` as in `job_done`."""
        ...

    def begin_again(self, video: V_contra, lost: WriterJob | None) -> None:
        """Submits the video once more; `lost` is the job, if it was one, whose argument or result died."""
        ...

    def fail(self, video: V_contra, reason: str) -> None:
        """The video cannot be made: `forget` it."""
        ...


class VideoDriver(Generic[V]):
    """Owners submit to `runner`, put into `jobs`, and keep their videos in `videos` by id."""

    def __init__(self, conf: Conf, pools: Mapping[str, Pool], policy: VideoPolicy[V], max_segments: int) -> None:
        """Rule 4 holds when more than `max_segments` segments, or JOBS_PER_SEGMENT times as many jobs, wait."""
        self._policy, self._max_segments, self._max_attempts = policy, max_segments, conf.ray.max_attempts
        self._pools, self._writer = pools, pools["writer"]
        self._calls = Calls(list(pools.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s)
        self.runner = RayRunner(conf, pools, self._calls, self._detour)
        self.jobs = WriterQueue(self._writer, self._calls, self._max_attempts)
        self.videos: dict[str, V] = {}
        self._num_losses: Counter[str] = Counter()  # of each video: rule 2
        self._num_repeats: Counter[str] = Counter()  # of each video: jobs, and the tasks before it began again

    @property
    def busy(self) -> bool:
        """Whether a call runs."""
        return bool(self._calls)

    @property
    def is_recovering(self) -> bool:
        """Whether an actor is on its way back."""
        return any(pool.proofs for pool in self._pools.values())

    @property
    def waiting_frames(self) -> int:
        """Low-resolution frames between the stages, of all videos."""
        return sum(self.runner.waiting_frames.values())

    @property
    def waiting_segments(self) -> int:
        return self.jobs.num_waiting(self._policy.segment_method)

    def num_calls(self) -> dict[str, int]:
        """Running calls of each pool."""
        return {name: self._calls.running(pool) for name, pool in self._pools.items()}

    def written(self) -> set[str]:
        """Ids of the videos that a writer works for."""
        return {subject.video_id for subject in self._calls.subjects(self._writer)}

    def repeats(self, video_id: str) -> int:
        """Number of calls of a video that were made again, and of its restarts."""
        return self._num_repeats[video_id] + self.runner.attempts(video_id)

    def hand_out(self, tasks: bool = True) -> None:
        """Starts what can be started; without `tasks`, only jobs of the writers."""
        jobs = self.jobs.num_waiting()
        if tasks and self.waiting_segments <= self._max_segments and jobs <= JOBS_PER_SEGMENT * self._max_segments:
            self.runner.hand_out()  # before the jobs: a chunk that is read needs a writer at once
        self.jobs.hand_out()

    def take_in(self, timeout_s: float) -> None:
        """Handles what has ended, after at most `timeout_s`. Raises RuntimeError when a pool is dead."""
        for outcome in self._calls.wait(timeout_s):
            subject = outcome.call.subject
            if isinstance(subject, WriterJob):
                self._job_ended(self.jobs.take_in(outcome))
            elif self.runner.runs(subject):  # else it was cancelled, or has begun again
                self._task_ended(subject, outcome)

    def report(self, outcome: Outcome) -> None:
        """Tells the runner of a task that has ended."""
        for event in self.runner.take_in(outcome):
            self._handle(event)

    def forget(self, video_id: str) -> None:
        """Ends the work on a video. Running calls are left to end; they take seconds."""
        self._cancel(video_id)
        self.videos.pop(video_id, None)
        del self._num_losses[video_id], self._num_repeats[video_id]

    def begin_again(self, video_id: str, why: str, lost: WriterJob | None = None) -> None:
        """A part of the video died with a machine: rule 2."""
        video = self.videos[video_id]
        self._num_losses[video_id] += 1
        count = self._num_losses[video_id]
        logger.warning("video begins again id=%s losses=%d reason=%s", video_id, count, why)
        if count >= self._max_attempts:
            return self._policy.fail(video, f"parts of it were lost {count} times: {why}")
        self._num_repeats[video_id] += 1 + self.runner.attempts(video_id)  # the runner forgets its own
        self._cancel(video_id)
        self._policy.begin_again(video, lost)

    def _cancel(self, video_id: str) -> None:
        self.runner.cancel(video_id)
        self.jobs.drop(video_id)

    def _detour(self, task: Task) -> tuple[Pool, str, tuple[Any, ...]] | None:
        """Rule 1."""
        if task.stage is not Stage.GENERATE:
            return None
        path = self._policy.kept_chunk(self.videos[task.video_id], task.index)
        return None if path is None else (self._writer, "load_chunk", (path,))

    def _task_ended(self, task: Task, outcome: Outcome) -> None:
        video = self.videos[task.video_id]
        if outcome.fate is Fate.RAISED and outcome.call.pool is self._writer:  # rule 1
            logger.warning("chunk unreadable id=%s index=%d reason=%s", task.video_id, task.index, outcome.why)
            self._policy.chunk_unreadable(video, task.index)
            outcome = replace(outcome, fate=Fate.LOST)
        if outcome.fate is Fate.MISSING:
            self.begin_again(task.video_id, outcome.why)
        elif self._policy.passes(video, outcome):
            self.report(outcome)

    def _handle(self, event: Event) -> None:
        if isinstance(event, VideoFailed):
            self._num_repeats[event.video_id] += event.attempts
            self._policy.fail(self.videos[event.video_id], event.reason)
        elif isinstance(event, SegmentFinal):
            self._policy.segment_final(self.videos[event.video_id], event)
        else:
            self._policy.task_done(self.videos[event.task.video_id], event)

    def _job_ended(self, result: JobResult) -> None:
        video_id = result.job.video_id
        video = self.videos.get(video_id) if result.wanted else None
        if result.fate is Fate.DONE:
            self._policy.job_done(video, result)
        elif result.fate is Fate.RAISED:
            self._policy.job_raised(video, result)
        elif video is not None and result.fate is Fate.LOST:
            self._num_repeats[video_id] += 1
        elif video is not None:
            self.begin_again(video_id, result.why, result.job)
