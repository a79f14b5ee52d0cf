"""Progress of a bulk job: a bar for each stage in a terminal, else log lines, and Ray metrics."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from longtake.pipelines.bulk.records import Tally
from longtake.pipelines.runners.ray_metrics import RayMetrics

logger = logging.getLogger(__name__)
LOG_S = 15.0
GAUGES = {
    "in_flight": "videos in progress",
    "waiting_frames": "low-resolution frames waiting for a refiner",
    "waiting_segments": "final segments waiting to be encoded",
}
COUNTERS = {
    "done": "videos finished",
    "failed": "videos failed",
    "rejected": "videos stopped for their quality, some of which restarted with another seed",
    "flagged": "videos finished that break a limit",
    "chunks": "chunks generated",
    "windows": "windows begun",
    "frames": "frames of finished videos",
}


class BulkProgress:
    """Shows a tally; updates may come at any rate."""

    def __init__(self) -> None:
        self._began = self._logged = time.monotonic()
        self._bars: dict[str, Any] = {}
        if sys.stderr.isatty():
            for place, name in enumerate(("videos", "chunks", "windows")):
                self._bars[name] = tqdm(desc=f"{name:<8}", unit=name[:-1], position=place, leave=False)
        self._metrics = RayMetrics(GAUGES, COUNTERS)

    def show(self, tally: Tally) -> None:
        self._metrics.show({name: getattr(tally, name) for name in (*GAUGES, *COUNTERS)})
        if self._bars:
            self._draw(tally)
        elif time.monotonic() - self._logged >= LOG_S:
            self._logged = time.monotonic()
            logger.info("%s", self.line(tally))

    def line(self, tally: Tally) -> str:
        """The progress in words."""
        seconds = time.monotonic() - self._began
        parts = [f"{tally.finished}/{tally.total} videos", f"{tally.failed} failed", f"{tally.in_flight} in progress"]
        parts += [f"{tally.chunks} chunks", f"{tally.windows} windows", f"queue {tally.waiting_frames} frames"]
        parts += [f"{tally.frames / seconds:.2f} frames/s", f"{_left(tally, seconds)} left"]
        return ", ".join(parts)

    def _draw(self, tally: Tally) -> None:
        seconds = time.monotonic() - self._began
        for name, count in (("videos", tally.finished), ("chunks", tally.chunks), ("windows", tally.windows)):
            bar = self._bars[name]
            bar.total = tally.total if name == "videos" else None
            bar.update(count - bar.n)
        self._bars["videos"].set_postfix_str(f"{tally.failed} failed, {_left(tally, seconds)} left")
        self._bars["chunks"].set_postfix_str(f"queue {tally.waiting_frames} frames")
        self._bars["windows"].set_postfix_str(f"{tally.frames / seconds:.2f} frames/s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in self._bars.values():
            bar.close()


def _left(tally: Tally, seconds: float) -> str:
    num_ended = tally.done + tally.failed
    if not num_ended:
        return "?"
    left = (tally.total - tally.finished) * seconds / num_ended
    return f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
