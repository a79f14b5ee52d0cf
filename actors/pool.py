"""Interchangeable actors: take one, give it back. A dead one returns to the pool after it has rebuilt and warmed up.

Ray restarts an actor by itself (`max_restarts=-1`); retries of calls are up to the caller, so Ray makes none.
"""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import ray
from ray.exceptions import ActorDiedError, RayError

logger = logging.getLogger(__name__)
Handle: TypeAlias = Any  # of an actor: Ray's own type does not list an actor's methods


class Pool:
    """`make(index)` starts an actor. `take(key)` prefers the one that had `key` last; nothing depends on it."""

    def __init__(self, name: str, make: Callable[[int], Handle], num_actors: int) -> None:
        self.name = name
        self._make = make
        self._actors = [make(index) for index in range(num_actors)]
        self._idle = list(range(num_actors))
        self._last_actor: dict[Hashable, int] = {}
        self._returning: dict[Any, int] = {}  # reference to a proof -> the actor it is about
        self._proofs: list[Any] = []  # of the first build
        self._lost_s: dict[int, float] = {}  # when each actor that is not back yet was lost
        self._alive_s = time.monotonic()

    @property
    def num_idle(self) -> int:
        return len(self._idle)

    @property
    def actors(self) -> Sequence[Handle]:
        return self._actors

    @property
    def num_proven(self) -> int:
        """Actors that have built and warmed up, while `prove` waits for them."""
        if not self._proofs:
            return 0
        return len(ray.wait(self._proofs, num_returns=len(self._proofs), timeout=0)[0])

    def begin_to_prove(self) -> None:
        """Makes every actor build and warm up; `prove` waits for them."""
        self._proofs = [actor.prove.remote() for actor in self._actors]

    def prove(self, timeout_s: float) -> None:
        """Waits until every actor has built and warmed up. Raises RuntimeError with the reason of the first failure."""
        proofs = self._proofs
        done, late = ray.wait(proofs, num_returns=len(proofs), timeout=timeout_s)
        for proof in done:
            try:
                ray.get(proof)
            except RayError as error:
                raise RuntimeError(f"the {self.name} actors cannot start: {reason(error)}") from None
        if late:
            raise RuntimeError(
                f"{len(late)} of {len(proofs)} {self.name} actors were not ready within {timeout_s:.0f} s: raise "
                "ray.start_timeout_s, or check the cluster"
            )
        self._alive_s = time.monotonic()

    def take(self, key: Hashable) -> int:
        """The number of an idle actor. There must be one."""
        last = self._last_actor.get(key)
        index = last if last in self._idle else self._idle[0]
        assert index is not None, "a key is kept with the actor that had it"
        self._idle.remove(index)
        self._last_actor[key] = index
        return index

    def give(self, index: int) -> None:
        """Returns an actor; the others are taken before it."""
        self._idle.append(index)
        self._alive_s = time.monotonic()

    def forget(self, belongs: Callable[[Hashable], bool]) -> None:
        """Drops the keys for which `belongs` is true."""
        self._last_actor = {key: index for key, index in self._last_actor.items() if not belongs(key)}

    def lost(self, index: int) -> None:
        """Records a dead actor. It and the idle ones must prove themselves: they may have died together."""
        self._alive_s = self._lost_s[index] = time.monotonic()
        for actor in (index, *self._idle):
            self._ask_for_proof(actor)
        self._idle.clear()

    def _ask_for_proof(self, index: int) -> None:
        self._returning[self._actors[index].prove.remote()] = index

    def kill(self, index: int) -> None:
        """Ends the actor's current call; Ray starts the actor again."""
        ray.kill(self._actors[index], no_restart=False)
        self.lost(index)

    @property
    def proofs(self) -> list[Any]:
        """References that become ready when a lost actor is back; `returned` takes them."""
        return list(self._returning)

    def returned(self, proof: Any, timeout_s: float) -> bool:
        """Whether a lost actor is back; if not, it is asked again. RuntimeError after `timeout_s` without any actor."""
        index = self._returning.pop(proof)
        try:
            ray.get(proof)
        except RayError as error:
            if time.monotonic() - self._alive_s > timeout_s:
                text = f"no {self.name} actor has worked for {timeout_s:.0f} s, the last error: {reason(error)}"
                raise RuntimeError(text) from None
            if isinstance(error, ActorDiedError):  # for good: its machine or its placement is gone
                logger.warning("%s actor %d cannot restart where it was: starting another one", self.name, index)
                self._actors[index] = self._make(index)
            self._ask_for_proof(index)
            return False
        self._idle.append(index)
        self._alive_s = time.monotonic()
        if index in self._lost_s:
            seconds = self._alive_s - self._lost_s.pop(index)
            logger.info("%s actor %d is back after %.1f s", self.name, index, seconds)
        return True

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)


def reason(error: Exception) -> str:
    """The cause of a Ray error, in one line, for the user."""
    cause = getattr(error, "cause", None) or error
    kind = "" if isinstance(cause, ValueError | OSError) else f"{type(cause).__name__}: "
    return f"{kind}{' '.join(str(cause).split())}"[:2000]
