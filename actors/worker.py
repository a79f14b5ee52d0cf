"""The one kind of actor: it holds something that `pipelines` built, and makes calls of it. No arithmetic, no domain.

What crosses to another process is what a call returns, never something put into the store from here: a return value
belongs to the caller and survives the death of the actor that made it.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray


class Held(Protocol):
    """What an actor holds: a stage, or the archive. Its methods return two values and depend on their arguments."""

    def warm_up(self) -> None:
        """One small call of everything that can break. Raises what is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the driver learns of a call: who did it, and when by that machine's clock (seconds since 1970)."""

    worker: str
    began_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Worker:
    """The actor's body. A constructor that raises would look like a dead actor, so nothing is built in it."""

    def __init__(self, build: Callable[[], Held]) -> None:
        """`build` has to be small: it is sent again whenever the actor is restarted. Paths, not weights."""
        self._build = build
        self._held: Held | None = None

    def prove(self) -> str:
        """Builds and warms up; returns the worker's name. Raises what `build` and `warm_up` raise."""
        if self._held is None:
            held = self._build()
            held.warm_up()
            self._held = held
        return worker_name()

    @ray.method(num_returns=3)
    def call(self, method: str, *args: Any) -> tuple[Receipt, Any, Any]:
        """The two values that `method` returns, after a Receipt."""
        self.prove()
        began_s = time.time()
        first, second = getattr(self._held, method)(*args)
        return Receipt(worker_name(), began_s, time.time()), first, second


def worker_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


StageActor = ray.remote(Worker)
