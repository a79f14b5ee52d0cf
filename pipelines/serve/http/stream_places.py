"""Places for open connections, shared fairly: one key cannot take them all.

1. A connection that carries video takes a place; one that carries events, or waits, a quarter of one.
2. A key gets a place only if it would then hold no more places than are free before: alone it can have half of them,
   the next key half of the rest. Without keys there is one holder, who can have all.
3. A refusal says which limit was reached: no place is left, or this key has its share.
"""

from collections import Counter

from longtake.pipelines.serve.http.errors import ApiError

VIDEO, EVENTS = 4, 1  # quarters of a place
RETRY_S = 5.0


class StreamPlaces:
    """The places of one endpoint, used in its event loop only."""

    def __init__(self, num_places: int) -> None:
        self._num_places = num_places
        self._held = Counter[str]()  # quarters of places, by owner
        self._open = Counter[str]()  # connections, by owner

    @property
    def num_open(self) -> int:
        return self._open.total()

    def take(self, owner: str, cost: int) -> "StreamPlace":
        """A place, held until it is closed. Raises ApiError."""
        free = self._num_places * VIDEO - self._held.total()
        if free < cost:
            raise _refusal(f"All {self._num_places} streams of this endpoint are taken")
        if owner and not has_share(self._held[owner], cost, free):
            held = f"it has {self._open[owner]} connections open"
            raise _refusal(f"This key has its share of the {self._num_places} streams of this endpoint: {held}")
        self._held[owner] += cost
        self._open[owner] += 1
        return StreamPlace(self, owner, cost)

    def give_back(self, owner: str, cost: int) -> None:
        self._held[owner] -= cost
        self._open[owner] -= 1
        if not self._open[owner]:
            del self._held[owner], self._open[owner]


class StreamPlace:
    """A place of one connection. It may be closed twice."""

    def __init__(self, places: StreamPlaces, owner: str, cost: int) -> None:
        self._places, self._owner, self._cost, self._is_open = places, owner, cost, True

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._places.give_back(self._owner, self._cost)


def has_share(held: int, wanted: int, free: int) -> bool:
    """Whether an owner of part of a shared stock can have more of it: no more in all than is left free for others."""
    return held + wanted <= free


def _refusal(message: str) -> ApiError:
    return ApiError(429, "too_many_streams", f"{message}; retry in {RETRY_S:g} s.", retry_after_s=RETRY_S)
