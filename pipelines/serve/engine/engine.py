"""The endpoint's engine: takes wait, are made, and end; whatever becomes of this process, none is lost.

One thread does all of it (`engine_loop.py`). Others ask it, and wait a moment for its answer; what they only look at,
the library and the events of a take, needs no waiting.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.runners.ray_cluster import Factories
from longtake.pipelines.serve.engine.crew import NotYet
from longtake.pipelines.serve.engine.loop import Loop, NotReady, QueueFull, State
from longtake.pipelines.serve.library.events import Live
from longtake.pipelines.serve.library.resume_plan import shape_of
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes, extended
from longtake.pipelines.serve.settings import ServeConf

__all__ = ["Engine", "NoSuchTake", "NotReady", "QueueFull"]
T = TypeVar("T")


class Engine:
    """May be asked from any thread. All but `start` and `close` raise NotReady when it has not read its library yet,
    or is closed, or has failed; and what the store raises."""

    def __init__(self, conf: ServeConf, takes: Takes, factories: Factories | None = None) -> None:
        """`factories` stand in for the bundle's stages in tests."""
        self._conf = conf
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._loop = Loop(conf, takes, self._commands, factories)
        self._thread = threading.Thread(target=self._loop.run, name="engine", daemon=True)

    @property
    def state(self) -> State:
        """starting, ready, draining or failed."""
        return self._loop.state

    @property
    def why(self) -> str:
        """What it waits for while it starts, or why it has failed."""
        return self._loop.why

    def start(self) -> None:
        """Comes back at once; `state` says when it is ready."""
        self._thread.start()

    def submit(self, take: Take) -> Take:
        """Puts a take into the queue. Raises QueueFull, and ValueError for what can never be made."""
        conf = for_video(self._conf, take.spec.settings)
        ChunkQueue(shape_of(take.spec, conf).plan, conf.scheduler.lookahead_frames)  # has to hold a window
        return self._ask(lambda: self._loop.submit(take))

    def extend(self, source: Take, prompt: str, num_frames_more: int) -> Take:
        """Puts a take into the queue that begins as `source`, a completed one, and goes on with `prompt`.

        It is, byte for byte, the take that has this prompt as a cue at the end of `source`. Raises as `submit`.
        """
        if source.status is not Status.COMPLETED:
            raise ValueError(f"id={source.id}: it is {source.status}, and only a completed video can be extended")
        return self.submit(extended(source, prompt, num_frames_more, int(time.time())))

    def cancel(self, take_id: str) -> Take:
        """Ends a take; what is made of it stays. No call of it is started any more, and those that run are left to end.

        Nothing happens to one that has ended. Raises NoSuchTake.
        """
        return self._ask(lambda: self._loop.cancel(take_id))

    def delete(self, take_id: str) -> None:
        """Removes a take with its files; one that is being made is cancelled before. Raises NoSuchTake."""
        self._ask(lambda: self._loop.delete(take_id))

    def change_prompt(self, take_id: str, prompt: str) -> int:
        """Another prompt from the first chunk on that was not begun; returns the frame where that one starts.

        Raises NoSuchTake, and ValueError when it comes too late, or is none.
        """
        return self._ask(lambda: self._loop.change_prompt(take_id, prompt))

    def live(self, take_id: str) -> Live | None:
        """What happens to a take; None for one that has ended. Never raises."""
        return self._loop.lives.get(take_id)

    def gauges(self) -> dict[str, float]:
        """How much waits and runs, as of a moment ago (see `engine_gauges`). Never raises."""
        return self._loop.gauges

    def close(self, drain_s: float) -> None:
        """Starts no task any more, waits up to `drain_s` for what runs to end and be kept, and ends the pools.

        Takes that are not finished stay as they are on disk, for the next engine. It may be called twice.
        """
        if self._thread.ident is None:  # never started
            return
        self._loop.close(drain_s)
        self._commands.put(lambda: None)  # wakes it up
        self._thread.join()

    def _ask(self, call: Callable[[], T]) -> T:
        """What `call` returns, or raises, in the engine's thread."""
        answer: Future[T] = Future()

        def command() -> None:
            try:
                answer.set_result(call())
            except NotYet:
                self._commands.put(command)
            except Exception as error:
                answer.set_exception(error)

        self._loop.check_open()
        self._commands.put(command)
        while not answer.done() and self._thread.is_alive():
            try:
                return answer.result(1.0)
            except TimeoutError:
                continue
        self._loop.check_open()
        return answer.result(0)
