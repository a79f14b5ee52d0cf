"""What is to be done by writer actors, in order, as they become idle.

1. An errand may be a video's. When the video is dropped, its errands that wait are gone, and those that run end as not
   wanted. Errands that are put in afterwards are wanted again: a video that begins anew is dropped before.
2. One that is lost with its actor waits again, before all others, up to `max_attempts` times. Then it counts as raised.
3. What else its end means is for the owner to say: a method that raised, or an argument that died with a machine.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool
from longtake.actors.worker import Receipt


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """A method of what a writer holds, and its arguments. `video_id` is whose it is, if anyone's."""

    method: str
    args: tuple[Any, ...]
    video_id: str = ""
    about: Any = None  # the owner's own, to know it by when it comes back
    attempts: int = 0  # that were lost


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """How an errand ended. One that is lost waits again, if it is wanted."""

    errand: Errand
    fate: Fate
    wanted: bool  # its video was not dropped since
    why: str  # of one that is not done
    first: Any  # references to the two values that it returned
    second: Any
    receipt: Receipt | None  # of one that is done


class Errands:
    """The errands of one owner, who shares `calls` with them and hands them the outcomes that are theirs."""

    def __init__(self, writer: Pool, calls: Calls, max_attempts: int) -> None:
        self._writer, self._calls, self._max_attempts = writer, calls, max_attempts
        self._waiting: deque[Errand] = deque()
        self._running: set[Errand] = set()  # those that are wanted

    def put(self, errand: Errand, first: bool = False) -> None:
        """It waits behind all others, or before them."""
        if first:
            self._waiting.appendleft(errand)
        else:
            self._waiting.append(errand)

    def num_waiting(self, method: str | None = None) -> int:
        """Errands, of one kind or of all, that no writer has begun."""
        return sum(method in (None, errand.method) for errand in self._waiting)

    @property
    def busy(self) -> bool:
        """Something waits, or a writer works, if only on what nobody wants any more."""
        return bool(self._waiting) or self._calls.running(self._writer) > 0

    def hand_out(self) -> None:
        """Starts as many as there are idle writers."""
        while self._waiting and self._writer.num_idle:
            errand = self._waiting.popleft()
            self._running.add(errand)
            self._calls.start(self._writer, errand.video_id, errand, errand.method, *errand.args)

    def drop(self, video_id: str) -> None:
        """Nobody wants the errands of this video any more: rule 1."""
        self._waiting = deque(errand for errand in self._waiting if errand.video_id != video_id)
        self._running = {errand for errand in self._running if errand.video_id != video_id}
        self._writer.forget(lambda key: key in (video_id, (video_id, None)))  # the second is of chunks that are read

    def take_in(self, outcome: Outcome) -> Ended:
        """What became of a call whose subject is an Errand: rules 2 and 3."""
        errand: Errand = outcome.call.subject
        wanted = errand in self._running
        self._running.discard(errand)
        fate, why = outcome.fate, outcome.why
        if fate is Fate.LOST and errand.attempts + 1 >= self._max_attempts:
            fate, why = Fate.RAISED, f"a writer's call {errand.method} was tried {errand.attempts + 1} times: {why}"
        elif fate is Fate.LOST and wanted:
            self.put(replace(errand, attempts=errand.attempts + 1), first=True)
        return Ended(errand, fate, wanted, why, outcome.call.first, outcome.call.second, outcome.receipt)
