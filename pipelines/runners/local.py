"""The reference runner: one process, one task after the other. It defines the meaning of the system.

Every other runner asks the same Scheduler for tasks and makes the same calls elsewhere, with the same frames.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName, Task
from longtake.models.domain.stage import Stage
from longtake.models.domain.state import Segment

Observe = Callable[[Task, Any], None]  # (task, output)


@dataclass(frozen=True)
class LocalRunner:
    """Runs the tasks of one video in this process."""

    stages: Mapping[StageName, Stage]
    plan: PlanParams
    num_steps: int
    coupling: Coupling
    steps_per_task: int = 1
    scheduler: SchedulerParams = field(default_factory=SchedulerParams)

    def stream(
        self,
        spec: PromptSpec,
        observe: Observe | None = None,
        plan: Plan | None = None,
        resume: Resume | None = None,
    ) -> Iterator[Segment]:
        """Segments of one video in order, each as soon as it is final; closing the iterator ends the work.

        `observe(task, output)` is called after every task, before its segment is yielded. `plan` saves making the
        video's plan again. With `resume` the segments are those from its window on. Raises any exception of a stage.
        """
        scheduler = Scheduler(self.scheduler)
        plan = plan or Plan(spec.num_frames, self.plan)
        scheduler.submit(spec, plan, self.num_steps, self.coupling, self.steps_per_task, resume)
        try:
            while not scheduler.finished:
                # Refine first: a viewer waits for the earliest segment, not for the last chunk.
                task = scheduler.next(StageName.REFINE) or scheduler.next(StageName.GENERATE)
                assert task is not None, "nothing runs and nothing is ready"
                carry, output = self.stages[task.stage].advance(*task.args)
                segments = scheduler.done(task, carry, output)
                if observe is not None:
                    observe(task, output)
                yield from segments
        finally:
            scheduler.cancel(spec.video_id)
