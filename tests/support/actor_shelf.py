"""Actors that tests reuse: starting a process costs a second of CPU, seven with networks.

Only the start and the end of an actor are replaced. In between it is an ordinary `Worker`: calls, death and restart by
Ray are real. Drivers in other processes, and tests with the fixture `own_actors`, do not use the shelf.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayError

from longtake.actors.pool import Pool
from longtake.actors.worker import Callee, Worker, WorkerActor

PLACE = "longtake.pipelines.runners.ray_cluster.WorkerActor"
OWN_CLOSE = Pool.close
IDLE_S = 2.0  # to finish a call; an actor that takes longer is killed


class ShelvedWorker(Worker):
    """A worker that reads `build` from a file, also after a restart."""

    def __init__(self, file: Path) -> None:
        super().__init__(partial(build_from, file))

    def forget(self) -> None:
        """Drops the stage or writer that it has built."""
        self._callee = None


def build_from(file: Path) -> Callee:
    return cloudpickle.loads(file.read_bytes())()


class ActorShelf:
    """Replaces `WorkerActor`: `options(...).remote(build)` takes an actor from the shelf, or starts one.

    Pools still reserve their CPUs; actors of the shelf are outside these reservations.
    """

    def __init__(self, folder: Path) -> None:
        self._files = (folder / str(index) for index in count())
        self._file_of: dict[Any, Path] = {}
        self._free: list[Any] = []

    def options(self, **_: object) -> "ActorShelf":
        return self

    def remote(self, build: Callable[[], Callee]) -> Any:
        actor = self._free.pop() if self._free else None
        file = next(self._files) if actor is None else self._file_of[actor]
        file.write_bytes(cloudpickle.dumps(build))
        if actor is None:
            actor = ray.remote(ShelvedWorker).options(num_cpus=0, max_restarts=-1).remote(file)
            self._file_of[actor] = file
        return actor

    def close(self, pool: Pool) -> None:
        """Replaces `Pool.close`."""
        empty = {actor.forget.remote(): actor for actor in pool.actors}
        ready, late = ray.wait(list(empty), num_returns=len(empty), timeout=IDLE_S)
        for answer in ready:
            try:
                ray.get(answer)
                self._free.append(empty[answer])
            except RayError:
                late.append(answer)
        for answer in late:
            ray.kill(empty[answer])


@contextmanager
def shelved_actors(folder: Path) -> Iterator[None]:
    """Makes pools take their actors from a shelf and put them back."""
    shelf = ActorShelf(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLACE, shelf)
        patch.setattr(Pool, "close", lambda pool: shelf.close(pool))
        yield


@contextmanager
def own_actors() -> Iterator[None]:
    """Makes pools start and end their actors, as outside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLACE, WorkerActor)
        patch.setattr(Pool, "close", OWN_CLOSE)
        yield
