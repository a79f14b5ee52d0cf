"""The Ray runner: asks the Scheduler what the local runner asks, and makes the same calls in other processes.

What the stages hand to each other goes from actor to actor by reference; here are handles and receipts only.

 1. An actor that dies, or takes too long, costs the call: it is made again elsewhere with the same arguments.
 2. A stage that raises ends its own video, with the reason.
 3. What died with a machine is made again: the video begins anew, and gives the same frames, so what is out stays out.
 4. Both 1 and 3 happen at most `max_attempts` times to one call or video; then the video ends with the reason.
"""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from actors.calls import Calls, Fate, Outcome
from actors.pool import Pool, reason
from actors.stage import Receipt
from models.plan import Plan
from models.prompt import PromptSpec
from models.scheduler import Scheduler, Stage, Task
from models.state import Segment
from pipelines.cluster import Factories, pools
from pipelines.config import Conf, for_video

POOLS = {Stage.GENERATE: "base", Stage.REFINE: "refiner"}


@dataclass(frozen=True, slots=True, eq=False)
class TaskDone:
    """A task was run: `carry` and `output` are references to what it returned."""

    task: Task
    receipt: Receipt
    seconds: float  # from start to known end; what is more than the receipt's is ours
    carry: Any  # what its stage goes on from
    output: Any


@dataclass(frozen=True, slots=True, eq=False)
class SegmentFinal:
    """Segment `index` of a video is final; `segment` is a reference to it. After a loss they come again from 0."""

    video_id: str
    index: int
    segment: Any


@dataclass(frozen=True, slots=True, eq=False)
class VideoFailed:
    video_id: str
    reason: str
    attempts: int  # that were made again before


Event = TaskDone | SegmentFinal | VideoFailed
Detour = Callable[[Task], tuple[Pool, str, tuple[Any, ...]] | None]


def no_detour(task: Task) -> None:
    """Every task is run by its stage."""


@contextmanager
def running(conf: Conf, factories: Factories) -> Iterator["RayRunner"]:
    """A runner in pools of its own, which end with it. Raises RuntimeError when they cannot be had (see `pools`)."""
    with pools(conf.ray, factories) as made:
        yield RayRunner(conf, made, Calls(list(made.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s))


class RayRunner:
    """Runs the tasks of many videos in the actors of two pools."""

    def __init__(self, conf: Conf, made: Mapping[str, Pool], calls: Calls, detour: Detour = no_detour) -> None:
        """`calls` may be shared with other work. `detour(task)` names another call that gives what the task would."""
        self._conf, self._calls, self._detour = conf, calls, detour
        self._pools = {stage: made[name] for stage, name in POOLS.items()}
        self._scheduler = Scheduler(conf.scheduler)
        self._specs: dict[str, PromptSpec] = {}
        self._final: Counter[str] = Counter()  # segments given out
        self._attempts: Counter[tuple[str, Any]] = Counter()  # of tasks that were lost, and of videos begun anew

    @property
    def num_videos(self) -> int:
        """Videos in work."""
        return len(self._specs)

    @property
    def waiting_frames(self) -> dict[str, int]:
        """Low-resolution frames in the ChunkQueue of each video."""
        return self._scheduler.waiting_frames

    def attempts(self, video_id: str) -> int:
        """How often something of this video had to be done again."""
        return sum(count for (video, _), count in self._attempts.items() if video == video_id)

    def submit(self, spec: PromptSpec) -> Plan:
        """Begins a video. Raises ValueError for what can never run, or an id that is in work."""
        conf = for_video(self._conf, spec.settings)
        plan, refiner = Plan(spec.num_frames, conf.plan), conf.refiner
        self._scheduler.submit(spec, plan, refiner.num_inference_steps, refiner.coupling, refiner.steps_per_task)
        self._specs[spec.video_id] = spec
        self._final[spec.video_id] = 0
        return plan

    def cancel(self, video_id: str) -> None:
        """Nobody wants the rest. Tasks that run are left to end; they are seconds."""
        self._scheduler.cancel(video_id)
        self._specs.pop(video_id, None)
        self._final.pop(video_id, None)
        self._attempts = Counter({key: n for key, n in self._attempts.items() if key[0] != video_id})
        for pool in self._pools.values():
            pool.forget(lambda key: isinstance(key, tuple) and key[0] == video_id)

    def again(self, video_id: str, why: str) -> list[VideoFailed]:
        """Something of the video was lost with a machine: it begins anew, unless that happened too often."""
        if video_id not in self._specs:
            return []
        if self._too_often(video_id, None):
            return self._fail(video_id, f"parts of it were lost {self._conf.ray.max_attempts} times: {why}")
        spec = self._specs[video_id]
        self._scheduler.cancel(video_id)
        self.submit(spec)
        return []

    def hand_out(self, stages: Collection[Stage] = tuple(Stage)) -> None:
        """Starts every task of `stages` that may run on an actor that is idle."""
        for stage, pool in self._pools.items():
            while stage in stages and pool.num_idle and (task := self._scheduler.next(stage)):
                key = (task.video_id, task.index if task.stage is Stage.REFINE else None)
                where, method, args = self._detour(task) or (pool, "advance", task.args)
                self._calls.start(where, key, task, method, *args)

    def take_in(self, outcome: Outcome) -> Sequence[Event]:
        """What became of a Task; nothing, if its video was cancelled or begun anew since."""
        task = outcome.call.subject
        if not self._scheduler.runs(task):
            return []
        if outcome.fate is Fate.DONE:
            assert outcome.receipt is not None
            done = TaskDone(task, outcome.receipt, outcome.seconds, outcome.call.first, outcome.call.second)
            segments = self._scheduler.done(task, outcome.call.first, outcome.call.second)
            return [done, *(self._segment(task.video_id, segment) for segment in segments)]
        if outcome.fate is Fate.RAISED:
            return self._fail(task.video_id, outcome.why)
        if outcome.fate is Fate.MISSING:
            return self.again(task.video_id, outcome.why)
        if self._too_often(task.video_id, (task.stage, task.index, task.steps)):
            return self._fail(task.video_id, f"a call was tried {self._conf.ray.max_attempts} times: {outcome.why}")
        self._scheduler.lost(task)
        return []

    @property
    def busy(self) -> bool:
        """Calls are running, those of cancelled videos included."""
        return bool(self._calls)

    def events(self, timeout_s: float = 1.0) -> list[Event]:
        """What happened, after at most `timeout_s`; for a runner whose calls are its own."""
        return [event for outcome in self._calls.wait(timeout_s) for event in self.take_in(outcome)]

    def stream(
        self, spec: PromptSpec, observe: Callable[[Task, Any], None] | None = None
    ) -> Generator[Segment, None, None]:
        """Segments of one video in order, as `LocalRunner.stream` gives them; closing the iterator ends the work.

        Raises RuntimeError with the reason when the video fails.
        """
        plan, given, shown = self.submit(spec), 0, 0
        try:
            while given < len(plan.segments):
                self.hand_out()
                for event in self.events():
                    if isinstance(event, VideoFailed):
                        raise RuntimeError(event.reason)
                    if isinstance(event, TaskDone) and observe is not None:
                        # Chunks are small, and a preview shows them, once; the rest stays where it is.
                        generated = event.task.stage is Stage.GENERATE
                        chunk = self._fetch(event, event.output) if generated and event.task.index == shown else None
                        if chunk is not None or not generated:
                            shown += generated
                            observe(event.task, chunk)
                    if isinstance(event, SegmentFinal) and event.index == given:
                        segment = self._fetch(event, event.segment)
                        if segment is None:
                            break  # it comes again
                        yield segment
                        given += 1
        finally:
            self.cancel(spec.video_id)

    def _fetch(self, event: TaskDone | SegmentFinal, reference: Any) -> Any:
        """What it refers to; None if that died with a machine, and then its video has begun anew."""
        try:
            return ray.get(reference)
        except RayError as error:
            video_id = event.task.video_id if isinstance(event, TaskDone) else event.video_id
            failed = self.again(video_id, reason(error))
            if failed:
                raise RuntimeError(failed[0].reason) from None
            return None

    def _segment(self, video_id: str, segment: Any) -> SegmentFinal:
        index = self._final[video_id]
        self._final[video_id] += 1
        return SegmentFinal(video_id, index, segment)

    def _too_often(self, video_id: str, what: Any) -> bool:
        self._attempts[video_id, what] += 1
        return self._attempts[video_id, what] >= self._conf.ray.max_attempts

    def _fail(self, video_id: str, why: str) -> list[VideoFailed]:
        failed = VideoFailed(video_id, why, self.attempts(video_id))
        self.cancel(video_id)
        return [failed]
