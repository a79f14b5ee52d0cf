"""How far a bulk job is: a line a stage in a terminal, plain log lines where there is none, and Ray metrics."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from ray.util.metrics import Counter, Gauge
from tqdm import tqdm

from longtake.pipelines.bulk.records import Tally

logger = logging.getLogger(__name__)
LOG_S = 15.0
GAUGES = {
    "in_flight": "videos in work",
    "waiting_frames": "low-resolution frames that wait for a refiner",
    "waiting_segments": "final segments that wait to be encoded",
}
COUNTERS = {
    "done": "videos finished",
    "failed": "videos failed",
    "rejected": "videos stopped for their quality, of which some began again with another seed",
    "flagged": "videos finished that break a limit",
    "chunks": "chunks generated",
    "windows": "windows begun",
    "frames": "frames of finished videos",
}


class BulkProgress:
    """`show(tally)` as often as one likes."""

    def __init__(self) -> None:
        self._began = self._logged = time.monotonic()
        self._bars: dict[str, Any] = {}
        if sys.stderr.isatty():
            for place, name in enumerate(("videos", "chunks", "windows")):
                self._bars[name] = tqdm(desc=f"{name:<8}", unit=name[:-1], position=place, leave=False)
        self._gauges = {name: Gauge(f"longtake_{name}", text) for name, text in GAUGES.items()}
        self._counters = {name: Counter(f"longtake_{name}_total", text) for name, text in COUNTERS.items()}
        self._counted = dict.fromkeys(COUNTERS, 0)

    def show(self, tally: Tally) -> None:
        for name, gauge in self._gauges.items():
            gauge.set(getattr(tally, name))
        for name, counter in self._counters.items():
            more = getattr(tally, name) - self._counted[name]
            if more:
                counter.inc(more)
                self._counted[name] += more
        if self._bars:
            self._draw(tally)
        elif time.monotonic() - self._logged >= LOG_S:
            self._logged = time.monotonic()
            logger.info("%s", self.line(tally))

    def line(self, tally: Tally) -> str:
        """How far it is, in words."""
        seconds = time.monotonic() - self._began
        total = "?" if tally.total is None else str(tally.total)
        parts = [f"{tally.finished}/{total} videos", f"{tally.failed} failed", f"{tally.in_flight} in work"]
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
    made = tally.done + tally.failed
    if tally.total is None or not made:
        return "?"
    left = (tally.total - tally.finished) * seconds / made
    return f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
