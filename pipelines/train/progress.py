"""Progress of a training in other processes, from its log: the step, the loss, the time left, and held-out losses."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longtake.pipelines.terminal.progress import StatusLine, counts, doing

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
    """The log so far. Lines of an earlier run are not shown again and do not count for the time left."""

    def __init__(self, log: Path, steps: int) -> None:
        self._log, self._steps = log, steps
        self._place = 0
        self._lock = threading.Lock()  # the progress thread reads, and the main one at the end
        earlier = self._added()
        self._first = self._step = int(earlier[-1]["step"]) if earlier else 0
        self._loss: float | None = None

    def status(self, seconds: float) -> StatusLine:
        self.read()
        loss = "the workers are starting" if self._loss is None else f"loss {self._loss:.3g}"
        return counts(self._step, self._steps, "steps", seconds, self._first, loss)

    def read(self) -> None:
        """Reads what was added, and logs a line for held-out losses."""
        with self._lock:
            added = self._added()
        for row in added:
            self._step, self._loss = int(row["step"]), row.get("loss", self._loss)
            gates: dict[str, list[float]] = {}
            for name in (name for name in row if name.startswith(GATE)):  # gate/no_cam_950: at noise level 950
                gates.setdefault(re.sub(r"_\d+$", "", name.removeprefix(GATE)), []).append(row[name])
            if gates:
                means = {name.replace("_", " "): sum(values) / len(values) for name, values in gates.items()}
                listed = ", ".join(f"{name} {value:.3g}" for name, value in means.items())
                logger.info("step %d of %d, on held-out clips: %s", self._step, self._steps, listed)

    def _added(self) -> list[dict[str, Any]]:
        """The complete lines after the last position, which moves to their end."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(self._place)
            whole = file.read().rpartition(b"\n")[0]
        self._place += len(whole) + (1 if whole else 0)
        return [json.loads(line) for line in whole.split(b"\n") if line]
