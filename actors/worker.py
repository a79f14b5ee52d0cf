"""The one kind of actor: it holds an object that `pipelines` built and calls its methods. No arithmetic, no domain.

Values cross to another process as return values of a call, never through `ray.put` from here: a return value belongs to
the caller and survives the death of the actor that computed it.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import ray


class Callee(Protocol):
    """The object in an actor: a stage or a writer. Its methods return two values and depend on their arguments only."""

    def warm_up(self) -> None:
        """A small call of everything that can break. Raises the error it meets."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """The driver's record of a call: the worker, and the times by that machine's clock (seconds since 1970)."""

    worker: str
    began_s: float
    ended_s: float
    notes: tuple[str, ...] = ()  # our own warnings during the call, because nobody reads an actor's logs

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Worker:
    """The actor's body. A constructor that raises looks like a dead actor, so the object is built later, in `prove`."""

    def __init__(self, build: Callable[[], Callee]) -> None:
        """`build` must be small: it is sent again at every restart of the actor. Paths, not weights."""
        self._build = build
        self._callee: Callee | None = None

    def prove(self) -> str:
        """Builds and warms up; returns the worker's name. Raises what `build` and `warm_up` raise."""
        if self._callee is None:
            callee = self._build()
            callee.warm_up()
            self._callee = callee
        return worker_name()

    @ray.method(num_returns=3)
    def call(self, method: str, *args: Any) -> tuple[Receipt, Any, Any]:
        """A Receipt, then the two values that `method` returns."""
        self.prove()
        began_s = time.time()
        with _warnings() as notes:
            carry, output = getattr(self._callee, method)(*args)
        return Receipt(worker_name(), began_s, time.time(), tuple(notes)), carry, output


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collects the warnings that our loggers emit inside the block."""
    notes: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    own = logging.getLogger("longtake")
    own.addHandler(handler)
    try:
        yield notes
    finally:
        own.removeHandler(handler)


def worker_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


WorkerActor = ray.remote(Worker)
