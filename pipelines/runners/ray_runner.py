"""The Ray runner: asks the Scheduler what the local runner asks, and makes the same calls in other processes.

Values go from actor to actor by reference; only handles and receipts pass through here.

 1. An actor that dies, or takes too long, costs the call: it is made again elsewhere with the same arguments.
 2. A stage that raises ends its own video, with the reason.
 3. After a result died with a machine the video restarts. It gives the same frames, so delivered ones stay valid.
 4. Both 1 and 3 happen at most `max_attempts` times to one call or video; then the video ends with the reason.
    VideoDriver counts the losses of its videos itself: their files survive a restart.
 5. A new prompt takes effect at the first chunk that was not handed out yet, and is a cue of the video's spec from then
    on: if the video restarts, or is requested with that cue from the start, it has the same frames.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool, reason
from longtake.actors.worker import Receipt
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec, change_prompt
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Scheduler, StageName, Task
from longtake.models.domain.state import Segment
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.runners.ray_cluster import Factories, pools

logger = logging.getLogger(__name__)
POOLS = {StageName.GENERATE: "base", StageName.REFINE: "refiner"}


@dataclass(frozen=True, slots=True, eq=False)
class TaskDone:
    """The end of a task; `carry` and `output` are references to its two values."""

    task: Task
    receipt: Receipt
    seconds: float  # from start to known end; the receipt has the part in the actor
    carry: Any  # state for the next task of the chunk or window
    output: Any


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFinal:
    """Segment `index` of a video is final; `segment` is a reference to it.

    Indices begin at 0, or at the window where the video was resumed; after a loss they are repeated from there.
    """

    video_id: str
    index: int
    segment: Any


@dataclass(frozen=True, slots=True, eq=False)
class VideoFailed:
    video_id: str
    reason: str
    attempts: int  # calls that were made again


Event = TaskDone | SegmentFinal | VideoFailed
Detour = Callable[[Task], tuple[Pool, str, tuple[Any, ...]] | None]


@dataclass(slots=True, eq=False)
class _RunningVideo:
    """A video in progress."""

    spec: PromptSpec
    conf: Conf  # its own
    plan: Plan
    resume: Resume
    num_final: int  # segments delivered, or final before the start
    reached: int  # chunks that were handed out before it began, or restarted


def no_detour(task: Task) -> None:
    """Leaves every task to its stage."""


@contextmanager
def running(conf: Conf, factories: Factories) -> Iterator["RayRunner"]:
    """A runner in pools of its own, which end with it. Raises RuntimeError when they cannot start (see `pools`)."""
    with pools(conf.ray, factories) as own:
        yield RayRunner(conf, own, Calls(list(own.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s))


class RayRunner:
    """Runs the tasks of many videos in the actors of two pools."""

    def __init__(self, conf: Conf, pools: Mapping[str, Pool], calls: Calls, detour: Detour = no_detour) -> None:
        """`calls` may be shared with other work. `detour(task)` is another call with the same result, or None."""
        self._conf, self._calls, self._detour = conf, calls, detour
        self._pools = {stage: pools[name] for stage, name in POOLS.items()}
        self._scheduler = Scheduler(conf.scheduler)
        self._videos: dict[str, _RunningVideo] = {}
        self._attempts: Counter[tuple[str, Any]] = Counter()  # of lost tasks, and of videos that restarted

    @property
    def waiting_frames(self) -> dict[str, int]:
        """Low-resolution frames in the ChunkQueue of each video."""
        return self._scheduler.waiting_frames

    def attempts(self, video_id: str) -> int:
        """Number of calls of this video that were made again, and of its restarts."""
        return sum(count for (video, _), count in self._attempts.items() if video == video_id)

    def submit(
        self,
        spec: PromptSpec,
        conf: Conf | None = None,
        plan: Plan | None = None,
        resume: Resume | None = None,
        reached: int = 0,
    ) -> Plan:
        """Begins a video, or continues it at `resume`, whose handles must outlive the loss of an actor's results.

        `conf` is `for_video` of its settings and `plan` its Plan, from callers who have them. The prompts of the first
        `reached` chunks can no longer change: those that an earlier run made. Raises ValueError for a video that can
        never run, a resume that does not fit, and an id that is in progress.
        """
        conf = conf or for_video(self._conf, spec.settings)
        plan = plan or Plan(spec.num_frames, conf.plan)
        resume = resume or Resume(0, 0)
        video = _RunningVideo(spec, conf, plan, resume, resume.window, reached)
        self._schedule(video)
        self._videos[spec.video_id] = video
        return video.plan

    def spec(self, video_id: str) -> PromptSpec:
        """The present spec, with a cue for every change. Raises ValueError for a video that is not in progress."""
        return self._video(video_id).spec

    def change_prompt(self, video_id: str, prompt: str) -> int:
        """Sets the prompt from the first chunk that was not handed out yet up to the next cue.

        Returns the frame where that chunk begins. Raises ValueError when none is left, for an invalid prompt, and for a
        video that is not in progress.
        """
        video = self._video(video_id)
        frame, spec = change_prompt(video.spec, video.plan, self._reached(video), prompt)
        self._scheduler.change(video_id, spec)
        video.spec = spec
        return frame

    def cancel(self, video_id: str) -> None:
        """Ends a video. Running tasks are left to end; they take seconds."""
        self._scheduler.cancel(video_id)
        self._videos.pop(video_id, None)
        self._attempts = Counter({key: n for key, n in self._attempts.items() if key[0] != video_id})
        for pool in self._pools.values():
            pool.forget(lambda key: isinstance(key, tuple) and key[0] == video_id)

    def restart(self, video_id: str, why: str) -> list[VideoFailed]:
        """Restarts a video after a loss with a machine, unless that happened too often."""
        if video_id not in self._videos:
            return []
        if self._too_often(video_id, None):
            return self._fail(video_id, f"parts of it were lost {self._conf.ray.max_attempts} times: {why}")
        video = self._videos[video_id]
        video.reached = self._reached(video)
        video.num_final = video.resume.window
        self._scheduler.cancel(video_id)
        self._schedule(video)
        return []

    def hand_out(self, stages: Collection[StageName] = tuple(StageName)) -> None:
        """Starts every task of `stages` that may run, while there are idle actors."""
        for stage, pool in self._pools.items():
            while stage in stages and pool.num_idle and (task := self._scheduler.next(stage)):
                key = (task.video_id, task.index if task.stage is StageName.REFINE else None)
                where, method, args = self._detour(task) or (pool, "advance", task.args)
                if not where.num_idle:  # a detour waits for an actor
                    self._scheduler.lost(task)
                    break
                self._calls.start(where, key, task, method, *args)

    def runs(self, task: Task) -> bool:
        """Whether it was handed out, has not ended, and its video is in progress."""
        return self._scheduler.runs(task)

    def take_in(self, outcome: Outcome) -> Sequence[Event]:
        """The events that follow from a task's outcome; none if its video was cancelled or has restarted."""
        task = outcome.call.subject
        if not self._scheduler.runs(task):
            return []
        if outcome.fate is Fate.DONE:
            assert outcome.receipt is not None
            done = TaskDone(task, outcome.receipt, outcome.seconds, outcome.call.carry, outcome.call.output)
            segments = self._scheduler.done(task, outcome.call.carry, outcome.call.output)
            return [done, *(self._segment(task.video_id, segment) for segment in segments)]
        if outcome.fate is Fate.RAISED:
            return self._fail(task.video_id, outcome.why)
        if outcome.fate is Fate.MISSING:
            return self.restart(task.video_id, outcome.why)
        most = self._conf.ray.max_attempts
        if self._too_often(task.video_id, (task.stage, task.index, task.steps)):
            return self._fail(task.video_id, f"a call was tried {most} times: {outcome.why}")
        count = self._attempts[task.video_id, (task.stage, task.index, task.steps)]
        logger.warning("call retried, attempt %d of %d: %s", count + 1, most, task)
        self._scheduler.lost(task)
        return []

    @property
    def busy(self) -> bool:
        """Whether calls are running, those of cancelled videos included."""
        return bool(self._calls)

    def events(self, timeout_s: float = 1.0) -> list[Event]:
        """New events, after at most `timeout_s`; for a runner whose calls are its own."""
        return [event for outcome in self._calls.wait(timeout_s) for event in self.take_in(outcome)]

    def stream(
        self,
        spec: PromptSpec,
        observe: Callable[[Task, Any], None] | None = None,
        plan: Plan | None = None,
        resume: Resume | None = None,
    ) -> Generator[Segment, None, None]:
        """Segments of one video in order, as `LocalRunner.stream` gives them; closing the iterator ends the work.

        Raises RuntimeError with the reason when the video fails.
        """
        resume = resume or Resume(0, 0)
        plan, given = self.submit(spec, plan=plan, resume=resume), resume.window
        shown = resume.chunk + len(resume.chunks)
        try:
            while given < len(plan.segments):
                self.hand_out()
                for event in self.events():
                    if isinstance(event, VideoFailed):
                        raise RuntimeError(event.reason)
                    if isinstance(event, TaskDone) and observe is not None:
                        # Chunks are small, and a preview shows them, once; other outputs are not fetched.
                        generated = event.task.stage is StageName.GENERATE
                        chunk = self._fetch(event, event.output) if generated and event.task.index == shown else None
                        if chunk is not None or not generated:
                            shown += generated
                            observe(event.task, chunk)
                    if isinstance(event, SegmentFinal) and event.index == given:
                        segment = self._fetch(event, event.segment)
                        if segment is None:
                            break  # it is repeated
                        yield segment
                        given += 1
        finally:
            self.cancel(spec.video_id)

    def _fetch(self, event: TaskDone | SegmentFinal, reference: Any) -> Any:
        """The value; None if it died with a machine, after which its video has restarted."""
        try:
            return ray.get(reference)
        except RayError as error:
            video_id = event.task.video_id if isinstance(event, TaskDone) else event.video_id
            failed = self.restart(video_id, reason(error))
            if failed:
                raise RuntimeError(failed[0].reason) from None
            return None

    def _video(self, video_id: str) -> _RunningVideo:
        if video_id not in self._videos:
            raise ValueError(f"video_id={video_id!r}: this video is not running")
        return self._videos[video_id]

    def _schedule(self, video: _RunningVideo) -> None:
        refiner = video.conf.refiner
        steps = (refiner.num_steps, refiner.coupling, refiner.steps_per_task)
        self._scheduler.submit(video.spec, video.plan, *steps, video.resume)

    def _reached(self, video: _RunningVideo) -> int:
        """Number of chunks that were handed out so far: viewers may have seen them."""
        if video.num_final == len(video.plan.segments):  # the Scheduler has forgotten it
            return len(video.plan.chunks)
        return max(video.reached, self._scheduler.next_chunk(video.spec.video_id))

    def _segment(self, video_id: str, segment: Any) -> SegmentFinal:
        video = self._videos[video_id]
        video.num_final += 1
        return SegmentFinal(video_id, video.num_final - 1, segment)

    def _too_often(self, video_id: str, what: Any) -> bool:
        self._attempts[video_id, what] += 1
        return self._attempts[video_id, what] >= self._conf.ray.max_attempts

    def _fail(self, video_id: str, why: str) -> list[VideoFailed]:
        failed = VideoFailed(video_id, why, self.attempts(video_id))
        self.cancel(video_id)
        return [failed]
