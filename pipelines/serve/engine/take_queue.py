"""Takes that wait for their first call, and their places."""

import math
from collections import deque
from collections.abc import Sequence

from longtake.pipelines.serve.engine.results import TakeResults
from longtake.pipelines.serve.library.takes import Status, Take, Takes
from longtake.pipelines.serve.settings import ServeParams


class QueueFull(Exception):
    """The queue is full; a place is likely to be free in `retry_after_s`."""

    def __init__(self, max_queued: int, retry_after_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"The queue is full ({max_queued} videos); retry in {self.retry_after_s} s.")


class TakeQueue:
    """Belongs to the engine's thread, except `place`."""

    def __init__(self, params: ServeParams, takes: Takes, results: TakeResults) -> None:
        self._params, self._takes, self._results = params, takes, results
        self._waiting: deque[str] = deque()
        self._places: dict[str, int] = {}  # replaced, never changed

    def __len__(self) -> int:
        return len(self._waiting)

    def place(self, take_id: str) -> int | None:
        """The place of a queued take, 1 for the next one; None for any other. Any thread may ask."""
        return self._places.get(take_id)

    def check_room(self, num_begun: int) -> None:
        """Raises QueueFull if there is no room for another take beside the `num_begun` that the runner has."""
        params = self._params
        if len(self._waiting) + num_begun >= params.in_flight + params.max_queued:
            raise QueueFull(params.max_queued, self._results.retry_after_s)

    def add(self, take: Take) -> None:
        """Adds a take behind all others, and opens its events."""
        self._waiting.append(take.id)
        self._results.open(take)

    def remove(self, take_id: str) -> None:
        self._waiting.remove(take_id)

    def next(self) -> str | None:
        """Removes and returns the next take, if there is one."""
        return self._waiting.popleft() if self._waiting else None

    def show(self, first: Sequence[str]) -> None:
        """Recomputes the places and announces those that changed; the takes in `first` come before all others.

        A take that was in progress before a restart has no place: it is not queued any more.
        """
        queued = [take_id for take_id in self._waiting if self._takes.get(take_id).status is Status.QUEUED]
        places = {take_id: place for place, take_id in enumerate((*first, *queued), 1)}
        if places == self._places:
            return
        for take_id, place in places.items():
            if place != self._places.get(take_id) and (log := self._results.logs.get(take_id)) is not None:
                log.append("queue", position=place)
        self._places = places
