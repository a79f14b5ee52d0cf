"""Progress of a training in other processes, from its log: the step, the loss, the time left, and held-out losses."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longtake.pipelines.terminal.progress import Status, counts, doing

logger = logging.getLogger(__name__)
GATE = "gate/"  # begins the names of losses on held-out clips


@contextmanager
def watched(log: Path, steps: int) -> Iterator[None]:
    """Shows the lines added to `log` (JSON with step, seconds and metrics) until the block ends."""
    watch = _Watch(log, steps)
    try:
        with doing(watch.status):
            yield
    finally:
        watch.read()


class _Watch:
    """The log so far. An earlier run has shown its own lines, and needs none of this one's time."""

    def __init__(self, log: Path, steps: int) -> None:
        self._log, self._steps = log, steps
        self._place = 0
        earlier = self._added()
        self._first = self._step = int(earlier[-1]["step"]) if earlier else 0
        self._loss: float | None = None

    def status(self, seconds: float) -> Status:
        self.read()
        loss = "the workers are starting" if self._loss is None else f"loss {self._loss:.3g}"
        return counts(self._step, self._steps, "steps", seconds, self._first, loss)

    def read(self) -> None:
        """Takes in what was added; a line for the held-out losses."""
        for row in self._added():
            self._step, self._loss = int(row["step"]), row.get("loss", self._loss)
            gates = {name.removeprefix(GATE): value for name, value in row.items() if name.startswith(GATE)}
            if gates:
                listed = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in gates.items())
                logger.info("step %d of %d, on held-out clips: %s", self._step, self._steps, listed)

    def _added(self) -> list[dict[str, Any]]:
        """The complete lines behind the place that was read, which moves to their end."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(self._place)
            whole = file.read().rpartition(b"\n")[0]
        self._place += len(whole) + (1 if whole else 0)
        return [json.loads(line) for line in whole.split(b"\n") if line]
