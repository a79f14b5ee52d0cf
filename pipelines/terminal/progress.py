"""What a command is doing now, reported at intervals: even if nothing moves, people see what it is waiting for.

    with doing("waiting for Ray"): ...                       waiting for Ray, 12 s
    with doing(lambda seconds: counts(...)): ...             12/40 videos, 1 failed, 3 min left

The innermost `doing` is shown, and "starting" before the first one, because libraries take seconds to load. Without a
Progress, as in the notebooks and the tests, nothing is shown.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)
FIRST_S = 1.0  # what takes less than a second needs no line


@dataclass(frozen=True, slots=True)
class StatusLine:
    """A text and, if known, the share that is done (0..1)."""

    text: str
    share: float | None = None


What = str | Callable[[float], str | StatusLine]  # of the seconds since it began


@dataclass(slots=True, eq=False)
class _Activity:
    what: What
    began_s: float
    passes: bool = False  # ends with the beginning of the next one


class _Stack:
    """The activities of this process. Threads may begin and end theirs in any order."""

    def __init__(self) -> None:
        self._activities: list[_Activity] = []
        self._lock = threading.Lock()

    def push(self, activity: _Activity) -> None:
        with self._lock:
            self._activities = [*(one for one in self._activities if not one.passes), activity]

    def remove(self, activity: _Activity) -> None:
        with self._lock:
            self._activities = [one for one in self._activities if one is not activity]

    @property
    def top(self) -> _Activity | None:
        return next(reversed(self._activities), None)


_stack = _Stack()


@contextmanager
def doing(what: What, now: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Names what goes on inside the block; if `what` is a string, the elapsed seconds are added to it."""
    activity = _Activity(what, now())
    _stack.push(activity)
    try:
        yield
    finally:
        _stack.remove(activity)


class Progress:
    """Calls `show` with the current status every `every_s` seconds, for a new activity after FIRST_S."""

    def __init__(
        self, show: Callable[[StatusLine], None], every_s: float = 5.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._show, self._every_s, self._now = show, every_s, now
        self._shown: _Activity | None = None
        self._shown_s = 0.0
        self._start = _Activity("starting", now(), passes=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def tick(self) -> None:
        """Shows the status if it is time."""
        now, activity = self._now(), _stack.top
        if activity is None or now - activity.began_s < FIRST_S:
            return
        if activity is self._shown and now - self._shown_s < self._every_s:
            return
        self._shown, self._shown_s = activity, now
        self._show(describe(activity.what, now - activity.began_s))

    def __enter__(self) -> Self:
        _stack.push(self._start)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _stack.remove(self._start)
        self._ended.set()
        self._thread.join(1)

    def _run(self) -> None:
        failed: _Activity | None = None
        while not self._ended.wait(0.25):
            try:
                self.tick()
            except Exception as error:  # a status reads files that other processes write
                if failed is not self._shown:
                    logger.warning("the progress is unknown for now: %s", error, exc_info=True)
                failed = self._shown


def describe(what: What, seconds: float) -> StatusLine:
    """The status of an activity that has lasted for `seconds`."""
    if isinstance(what, str):
        return StatusLine(f"{what}, {duration(seconds)}")
    status = what(seconds)
    return StatusLine(status) if isinstance(status, str) else status


def counts(done: int, total: int | None, unit: str, seconds: float, earlier: int = 0, notes: str = "") -> StatusLine:
    """`done` of `total`, notes, and the time left at the speed so far. `earlier` of `done` took no time of this run."""
    here = done - earlier
    left = None if total is None or here <= 0 else (total - done) * seconds / here
    parts = [f"{done} {unit}" if total is None else f"{done}/{total} {unit}", notes]
    parts += ["" if left is None or done == total else f"{duration(left)} left"]
    return StatusLine(", ".join(part for part in parts if part), done / total if total else None)


def duration(seconds: float) -> str:
    """12 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def bar(status: StatusLine, width: int = 20) -> str:
    """The status with a bar before it, if its share is known."""
    if status.share is None:
        return status.text
    done = int(min(1.0, status.share) * width)
    return f"[{'#' * done}{'-' * (width - done)}] {status.text}"
