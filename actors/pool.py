"""Interchangeable actors: take one, give it back. A dead one comes back when it has proven itself again.

Ray restarts an actor by itself (`max_restarts=-1`); retries of calls are the caller's, so none is made behind its back.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError

Handle: TypeAlias = Any  # of an actor: Ray's own type knows nothing of the methods of one


class Pool:
    """`make(index)` starts an actor. `take(key)` prefers the one that had `key` last; nothing depends on it."""

    def __init__(self, name: str, make: Callable[[int], Handle], num_actors: int) -> None:
        self.name = name
        self._make = make
        self._actors = [make(index) for index in range(num_actors)]
        self._idle = list(range(num_actors))
        self._had: dict[Hashable, int] = {}
        self._back: dict[Any, int] = {}  # reference to a proof -> who is to come back by it
        self._alive_s = time.monotonic()

    @property
    def num_idle(self) -> int:
        return len(self._idle)

    @property
    def actors(self) -> Sequence[Handle]:
        return self._actors

    def prove(self, timeout_s: float) -> None:
        """Builds and warms up every actor. Raises RuntimeError with the reason of the first that cannot."""
        proofs = [actor.prove.remote() for actor in self._actors]
        done, late = ray.wait(proofs, num_returns=len(proofs), timeout=timeout_s)
        for proof in done:
            try:
                ray.get(proof)
            except RayError as error:
                raise RuntimeError(f"the {self.name} actors cannot work: {reason(error)}") from None
        if late:
            raise RuntimeError(
                f"{len(late)} of {len(proofs)} {self.name} actors were not ready within {timeout_s:.0f} s: raise "
                "ray.start_timeout_s, or look into the cluster"
            )
        self._alive_s = time.monotonic()

    def take(self, key: Hashable) -> int:
        """An idle actor, by its number. There has to be one."""
        last = self._had.get(key)
        index = last if last in self._idle else self._idle[0]
        assert index is not None, "a key is kept with the actor that had it"
        self._idle.remove(index)
        self._had[key] = index
        return index

    def give(self, index: int) -> None:
        """It did its work, and is the last to be taken again."""
        self._idle.append(index)
        self._alive_s = time.monotonic()

    def forget(self, belongs: Callable[[Hashable], bool]) -> None:
        """The keys for which `belongs` says so will not come again."""
        self._had = {key: index for key, index in self._had.items() if not belongs(key)}

    def lost(self, index: int) -> None:
        """It died, or has to. It is asked to prove itself, and so are the idle ones: they may have died with it."""
        self._alive_s = time.monotonic()
        for one in (index, *self._idle):
            self._ask(one)
        self._idle.clear()

    def _ask(self, index: int) -> None:
        self._back[self._actors[index].prove.remote()] = index

    def kill(self, index: int) -> None:
        """Ends what it does now; Ray starts it again."""
        ray.kill(self._actors[index], no_restart=False)
        self.lost(index)

    @property
    def proofs(self) -> list[Any]:
        """References that tell when a lost actor is back: to be waited for, then handed to `returned`."""
        return list(self._back)

    def returned(self, proof: Any, timeout_s: float) -> bool:
        """Whether a lost actor is back; if not it is asked again. RuntimeError when none has worked for `timeout_s`."""
        index = self._back.pop(proof)
        try:
            ray.get(proof)
        except RayError as error:
            if time.monotonic() - self._alive_s > timeout_s:
                text = f"no {self.name} actor has worked for {timeout_s:.0f} s, the last one says: {reason(error)}"
                raise RuntimeError(text) from None
            if "ActorDied" in type(error).__name__:  # for good: its machine and its place are gone
                self._actors[index] = self._make(index)
            self._ask(index)
            return False
        self._idle.append(index)
        self._alive_s = time.monotonic()
        return True

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)


def reason(error: Exception) -> str:
    """What a user wants to read of an error of Ray: the cause, in one line."""
    cause = getattr(error, "cause", None) or error
    kind = "" if isinstance(cause, ValueError | OSError) else f"{type(cause).__name__}: "
    return f"{kind}{' '.join(str(cause).split())}"[:2000]
