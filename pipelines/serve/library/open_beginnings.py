"""Beginnings of takes that a writer makes piece by piece: few pieces a call, so that other takes get their turn."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from longtake.pipelines.serve.library.paths import CLIP, FRAGMENTS

Piece = tuple[str, Callable[[], bytes]]  # name, and what makes the content


@dataclass(slots=True)
class _Reading:
    pieces: Iterator[Piece]
    passed: set[str] = field(default_factory=set)


class OpenBeginnings:
    """The beginnings of at most `max_open` takes; the result of a call depends on its arguments alone.

    One that is open saves the decoding of the frames before those of the call.
    """

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._open: OrderedDict[str, _Reading] = OrderedDict()

    def next(
        self, take_id: str, kept: Collection[str], begin: Callable[[], Iterator[Piece]]
    ) -> Iterator[tuple[str, bytes]]:
        """The next pieces that are not among `kept`, up to a fragment or the clip."""
        reading = self._open.pop(take_id, None)
        if reading is None or not reading.passed <= set(kept):
            reading = _Reading(begin())
        for name, make in reading.pieces:
            reading.passed.add(name)
            if name in kept:
                continue
            yield name, make()
            if name == CLIP:
                return
            if name.startswith(FRAGMENTS):
                break
        else:
            return
        self._open[take_id] = reading
        while len(self._open) > self._max_open:
            self._open.popitem(last=False)
