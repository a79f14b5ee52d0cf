"""Progress and end of a bulk job: in words, and as Ray metrics.

The time left follows from the work that is done inside videos, so that it is steady with the first few cells. Its clock
begins with the first cell: the chunks before it would make the refiner look slow.
"""

import time
from collections.abc import Callable
from typing import Any

from longtake.pipelines.bulk.records import Tally
from longtake.pipelines.runners.ray_metrics import RayMetrics
from longtake.pipelines.terminal.exit_codes import ExitCode
from longtake.pipelines.terminal.progress import StatusLine, duration

STILL_S = 30.0  # without any event: then the status says so
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
    """Follows a tally; `show` may be called at any rate, `status` at any time."""

    def __init__(self, tally: Tally, now: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._now = tally, now
        self._metrics: Any = RayMetrics(GAUGES, COUNTERS)
        self._moved_s = now()
        self._began_s: float | None = None  # the first cell
        self._frames = tally.frames_left  # that were left then

    def show(self, cell_s: float | None = None) -> None:
        """After every event of the job; `cell_s` is what it took, if it is the end of cells."""
        self._moved_s = self._now()
        if self._began_s is None and cell_s is not None:
            self._began_s = self._moved_s - cell_s
        if self._began_s is None:
            self._frames = self._tally.frames_left
        self._metrics.show({name: getattr(self._tally, name) for name in (*GAUGES, *COUNTERS)})

    def status(self, seconds: float) -> StatusLine:
        """The status of a job that has run for `seconds`."""
        return status(self._tally, seconds, self._now() - self._moved_s, self.left_s)

    @property
    def left_s(self) -> float | None:
        """The seconds that are left at the speed so far; None where nothing says how many."""
        left = self._tally.frames_left
        made = self._frames - left
        if self._began_s is None or made <= 0 or left <= 0:
            return None
        return left * (self._now() - self._began_s) / made


def status(tally: Tally, seconds: float, still_s: float = 0.0, left_s: float | None = None) -> StatusLine:
    """The progress in words, with one time left; `still_s` is the time since the last event."""
    notes = [f"{tally.failed} failed", f"{tally.in_flight} in progress"]
    notes += [f"{tally.chunks} chunks", f"{tally.windows} windows", f"{tally.frames / max(seconds, 1e-3):.2f} frames/s"]
    notes += [f"nothing has finished for {duration(still_s)}"] if still_s > STILL_S else []
    notes += [] if left_s is None else [f"{duration(left_s)} left"]
    return StatusLine(
        f"{tally.finished}/{tally.total} videos, {', '.join(notes)}", tally.finished / max(tally.total, 1)
    )


def summary(out: str, tally: Tally) -> str:
    """The result of a job in one line: every row of its prompts is in one of the counts."""
    again = "; retry_failed=true tries failed ones again" if tally.failed + tally.failed_before else ""
    parts = [f"{tally.done} {'video' if tally.done == 1 else 'videos'} made", f"{tally.failed} failed"]
    parts += [f"{tally.failed_before} failed in an earlier run"] if tally.failed_before else []
    parts += [f"{tally.skipped} already finished"]
    parts += (
        [f"{tally.outdated} kept although their rows changed or are gone, or their files"] if tally.outdated else []
    )
    parts += [f"{tally.flagged} {'breaks' if tally.flagged == 1 else 'break'} a quality limit"] if tally.flagged else []
    parts += [f"{tally.unknown} with words that the bundle does not know"] if tally.unknown else []
    return f"{out}: {', '.join(parts)}{again}"


def stopped(out: str, tally: Tally) -> str:
    """The progress of a job that was told to stop, in words."""
    failed = tally.failed + tally.failed_before
    but = f", {failed} {'row' if failed == 1 else 'rows'} failed" if failed else ""
    return f"out={out}: {tally.finished - failed} of {tally.total} videos are finished{but}; run the same command again"


def exit_code(tally: Tally) -> ExitCode:
    """The exit code of a job that has ended."""
    return ExitCode.SOME_FAILED if tally.failed + tally.failed_before else ExitCode.DONE
