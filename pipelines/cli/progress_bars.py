"""Progress bars on a terminal, one per stage. Nothing is drawn if stderr is not a terminal."""

from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from longtake.models.domain.plan import Plan
from longtake.models.domain.scheduler import StageName, Task


class Progress:
    """Two bars: chunks of the base model, and cells (a window by a denoising step) of the refiner."""

    def __init__(self, plan: Plan, num_steps: int, source: str = "base model") -> None:
        self._num_steps = num_steps
        self._num_segments = len(plan.segments)
        self._final = 0
        cells = len(plan.windows) * (num_steps + 1)
        # disable=None: tqdm looks whether stderr is a terminal
        self._bars = {
            StageName.GENERATE: tqdm(
                total=len(plan.chunks), desc=f"{source:<10}", unit="chunk", disable=None, leave=False
            ),
            StageName.REFINE: tqdm(total=cells, desc="refiner   ", unit="cell", disable=None, leave=False, position=1),
        }

    def observe(self, task: Task, output: Any) -> None:
        """For `runner.stream(spec, observe)`: called after every task."""
        bar = self._bars[task.stage]
        bar.update(1 if task.steps is None else len(task.steps))
        if task.steps is not None and task.steps.start == self._num_steps:
            self._final += 1
            bar.set_postfix_str(f"{self._final}/{self._num_segments} segments")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in reversed(self._bars.values()):
            bar.close()
