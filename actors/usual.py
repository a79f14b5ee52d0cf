"""The usual time of each kind of call, so that a much slower one can be reported."""

from collections import defaultdict, deque
from collections.abc import Hashable
from statistics import median

REMEMBERED = 50
MIN_CALLS = 3  # with fewer there is no usual time
FACTOR = 3.0
MIN_SLOW_S = 5.0  # three times a few milliseconds is not worth a line


class UsualTimes:
    """Durations of earlier calls by kind."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def add(self, kind: Hashable, seconds: float) -> None:
        self._seconds[kind].append(seconds)

    def usual_s(self, kind: Hashable) -> float | None:
        """The median of the last calls; None if there were too few."""
        seconds = self._seconds[kind]
        return median(seconds) if len(seconds) >= MIN_CALLS else None

    def is_slow(self, kind: Hashable, seconds: float) -> bool:
        """Whether a call that has taken `seconds` so far is worth a line."""
        usual = self.usual_s(kind)
        return usual is not None and seconds > max(MIN_SLOW_S, FACTOR * usual)
