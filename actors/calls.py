"""Calls that run in the actors of pools, and the fate of each.

done      it returned
raised    it raised, and would raise again: the reason is for the user
lost      the actor died, or the call took too long or was abandoned: the same call may be retried
missing   an argument was lost with a machine: it has to be computed again first
"""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectFetchTimedOutError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from longtake.actors.pool import Pool, reason
from longtake.actors.usual import UsualTimes
from longtake.actors.worker import Receipt

logger = logging.getLogger(__name__)
LOST = (RayActorError, NodeDiedError, WorkerCrashedError, OutOfMemoryError)  # no common parent but RayError
MISSING = (ObjectLostError, ObjectFetchTimedOutError)


class Fate(StrEnum):
    DONE = "done"
    RAISED = "raised"
    LOST = "lost"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call in progress. `subject` belongs to the caller and comes back with the outcome."""

    subject: Any
    pool: Pool
    actor: int
    carry: Any  # references to the two values that it returns
    output: Any
    started_s: float  # by the driver's clock, `time.monotonic`
    method: str = ""

    def __str__(self) -> str:
        return f"{self.subject} ({self.pool.name} actor {self.actor})"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    call: Call
    fate: Fate
    receipt: Receipt | None = None  # of a call that is done
    why: str = ""  # of any other
    error: BaseException | None = None  # the exception of a call that raised
    seconds: float = 0.0  # from start to known end, transport included


class Calls:
    """Starts calls and waits for them, over all pools at once."""

    def __init__(self, pools: Sequence[Pool], timeout_s: float, patience_s: float) -> None:
        """A call that takes longer than `timeout_s` is lost, and its actor killed.

        A pool in which no actor has worked for `patience_s` is dead.
        """
        self._pools, self._timeout_s, self._patience_s = pools, timeout_s, patience_s
        self._running: dict[Any, Call] = {}
        self._usual = UsualTimes()
        self._named: set[Any] = set()  # receipts of running calls that were logged as slow
        self._given_up: dict[Any, float] = {}  # abandoned calls, and when each must have ended by `time.monotonic`

    def __len__(self) -> int:
        return len(self._running)

    def running(self, pool: Pool) -> int:
        """Calls of one pool that are running."""
        return sum(call.pool is pool for call in self._running.values())

    def subjects(self, pool: Pool) -> list[Any]:
        """Subjects of the running calls of one pool."""
        return [call.subject for call in self._running.values() if call.pool is pool]

    def start(self, pool: Pool, key: Hashable, subject: Any, method: str, *args: Any) -> None:
        """Makes the call in an idle actor of `pool`, preferably the one that had `key` last."""
        index = pool.take(key)
        actor: Any = pool.actors[index]
        receipt, carry, output = actor.call.remote(method, *args)
        self._running[receipt] = Call(subject, pool, index, carry, output, time.monotonic(), method)

    def give_up(self, unwanted: Callable[[Any], bool], grace_s: float) -> None:
        """Gives running calls with an `unwanted` subject `grace_s` to end; then they are lost and their actors killed.

        Most calls end within seconds, and building an actor takes longer than that: hence the grace.
        """
        until = time.monotonic() + grace_s
        for reference, call in self._running.items():
            if unwanted(call.subject):
                self._given_up.setdefault(reference, until)

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Outcomes of calls that ended, none after `timeout_s` without one. Raises RuntimeError when a pool is dead."""
        back = {proof: pool for pool in self._pools for proof in pool.proofs}
        waiting = [*self._running, *back]
        if not waiting:
            return []
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready and len(waiting) > 1:  # collect the others that have ended, without waiting
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        returned = [back[reference].returned(reference, self._patience_s) for reference in ready if reference in back]
        if ready and len(returned) == len(ready) and not any(returned):
            time.sleep(0.2)  # a machine that is shutting down refuses at once, many times per second
        ended = [self._ended(reference) for reference in ready if reference in self._running]
        late = self._overdue()
        self._name_slow()
        return [*ended, *late]

    def _ended(self, reference: Any) -> Outcome:
        call = self._running.pop(reference)
        self._named.discard(reference)
        self._given_up.pop(reference, None)
        try:
            receipt: Receipt = ray.get(reference)
        except RayError as error:
            return self._failed(call, error)
        call.pool.give(call.actor)
        seconds = time.monotonic() - call.started_s
        self._usual.add((call.pool, call.method), seconds)
        for note in receipt.notes:
            logger.warning("%s: %s", call, note)
        return Outcome(call, Fate.DONE, receipt, seconds=seconds)

    def _failed(self, call: Call, error: RayError) -> Outcome:
        cause = getattr(error, "cause", None)
        if isinstance(error, MISSING) or isinstance(cause, MISSING):
            call.pool.give(call.actor)
            logger.warning("an argument of a call was lost with a machine: %s: %s", call, reason(error)[:300])
            return Outcome(call, Fate.MISSING, why=reason(error))
        if isinstance(error, LOST) and not isinstance(error, RayTaskError):
            call.pool.lost(call.actor)
            logger.warning("call lost, its actor died and is restarting: %s: %s", call, reason(error)[:300])
            return Outcome(call, Fate.LOST, why=reason(error))
        call.pool.give(call.actor)
        return Outcome(call, Fate.RAISED, why=reason(error), error=cause)

    def _overdue(self) -> list[Outcome]:
        now, outcomes = time.monotonic(), []
        for reference, call in list(self._running.items()):
            if now - call.started_s > self._timeout_s:
                why = f"it took longer than ray.task_timeout_s={self._timeout_s:g}"
            elif now > self._given_up.get(reference, now):
                why = "its video no longer needs it"
            else:
                continue
            del self._running[reference]
            self._named.discard(reference)
            self._given_up.pop(reference, None)
            seconds = now - call.started_s
            logger.warning("call stopped after %.0f s, its actor is restarting: %s: %s", seconds, call, why)
            call.pool.kill(call.actor)
            outcomes.append(Outcome(call, Fate.LOST, why=why))
        return outcomes

    def _name_slow(self) -> None:
        now = time.monotonic()
        for reference, call in self._running.items():
            kind, seconds = (call.pool, call.method), now - call.started_s
            if reference not in self._named and self._usual.is_slow(kind, seconds):
                self._named.add(reference)
                logger.warning("slow call, %.0f s so far, usually %.1f s: %s; stopped at ray.task_timeout_s=%g",
                               seconds, self._usual.usual_s(kind), call, self._timeout_s)  # fmt: skip
