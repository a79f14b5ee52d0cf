"""Progress of one video: its chunks, the cells of its refiner, and one time left."""

from typing import Any

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan
from longtake.models.domain.scheduler import StageName, Task
from longtake.pipelines.terminal.progress import StatusLine, duration


class VideoProgress:
    """Counts chunks of the base model, and cells (a window by a denoising step) of the refiner.

    For the time left, `costs` weigh a chunk and a cell: the pixels that they compute.
    """

    def __init__(
        self,
        plan: Plan,
        num_steps: int,
        source: str = "base model",
        costs: tuple[int, int] = (1, 1),
        extension: Extension | None = None,
    ) -> None:
        self._num_steps, self._source = num_steps, source
        self._costs = dict(zip((StageName.GENERATE, StageName.REFINE), costs, strict=True))
        first = (plan.chunk_at(extension.end), extension.window) if extension else (0, 0)
        self._first = dict(zip(self._costs, first, strict=True))
        num_chunks, self._num_segments = len(plan.chunks) - first[0], len(plan.segments) - first[1]
        self._total = {StageName.GENERATE: num_chunks, StageName.REFINE: self._num_segments * (num_steps + 1)}
        self._done = dict.fromkeys(self._total, 0)
        self._final = 0

    def observe(self, task: Task, output: Any) -> None:
        """For `runner.stream(spec, observe)`: called after every task. Those of frames that exist do not count."""
        if task.index < self._first[task.stage]:
            return
        self._done[task.stage] += 1 if task.steps is None else len(task.steps)
        if task.steps is not None and task.steps.start == self._num_steps:
            self._final += 1

    def status(self, seconds: float) -> StatusLine:
        """The status after `seconds`."""
        done, total = (sum(cost * of[stage] for stage, cost in self._costs.items()) for of in (self._done, self._total))
        share = done / total
        chunks, cells = ((self._done[stage], self._total[stage]) for stage in (StageName.GENERATE, StageName.REFINE))
        parts = [f"{self._source} {chunks[0]}/{chunks[1]} chunks"]
        parts += [f"refiner {cells[0]}/{cells[1]} cells"] if self._num_steps else []
        parts += [f"{self._final}/{self._num_segments} segments final"]
        parts += [f"{duration(seconds * (1 - share) / share)} left"] if 0 < share < 1 else []
        return StatusLine(", ".join(parts), share)
