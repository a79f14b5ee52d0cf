"""The endpoint's engine: takes wait, are made, and end; none is lost when the process dies.

One thread owns all of it. Calls from other threads run there too, after a short wait for their turn; the library and
the events of a take can be read without waiting.

1. Takes are made in the order of submission, at most `in_flight` at once. With `max_queued` waiting, one more is
   refused. A take is in progress from its first call on; until then it is queued, and has a place.
2. A take is accepted when its record is written. After a restart it resumes from its files, except a transient one,
   whose connection is gone.
3. The end of a take is written before it is announced.
4. Two engines never work in one folder: the second waits for the first to end.
5. An engine whose pools cannot start, or die, fails; takes stay on disk for the next one.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar

from longtake import __version__
from longtake.actors.pool import Pool
from longtake.models.domain.checks import FieldError
from longtake.models.domain.prompt import with_prompt
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.files.folder_lock import FolderLock, LeaseTimes, exclusive
from longtake.pipelines.runners.ray_cluster import Factories
from longtake.pipelines.runners.spec_checks import plan_for
from longtake.pipelines.serve.engine.call_queue import CallQueue
from longtake.pipelines.serve.engine.metrics import Gauges
from longtake.pipelines.serve.engine.pool_startup import PoolStartup
from longtake.pipelines.serve.engine.results import CANCELLED, CLIENT_GONE, Error, TakeResults
from longtake.pipelines.serve.engine.take_queue import QueueFull, TakeQueue
from longtake.pipelines.serve.engine.take_runner import TakeRunner
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.paths import folder
from longtake.pipelines.serve.library.resume_plan import shape_of, with_progress
from longtake.pipelines.serve.library.take_writer import MARK, TakeWriter
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes, with_prompts
from longtake.pipelines.serve.settings import ServeConf

__all__ = ["Engine", "NoSuchTake", "NotReady", "QueueFull"]
logger = logging.getLogger(__name__)
State = Literal["starting", "ready", "draining", "failed"]
P = ParamSpec("P")
T = TypeVar("T")

TURN_S = 0.05  # the longest wait of a caller while calls run
EXPIRE_S = 10.0  # between searches for expired takes
LEASE = LeaseTimes(renew_s=5.0, dead_s=20.0, settle_s=3.0)  # short: people wait for the endpoint to return
CLOSED = "the endpoint is closed"


class NotReady(RuntimeError):
    """The engine is starting, stopping or has failed."""


def _in_thread(method: "Callable[Concatenate[Engine, P], T]") -> "Callable[Concatenate[Engine, P], T]":
    """Runs a method in the engine's thread; other threads wait for its result, and get NotReady when it is not open."""

    @wraps(method)
    def call(engine: "Engine", /, *args: P.args, **kwargs: P.kwargs) -> T:
        if threading.current_thread() is engine._thread:
            return method(engine, *args, **kwargs)
        return engine._calls.ask(lambda: method(engine, *args, **kwargs))

    return call


class Engine:
    """Safe to call from any thread. All but `start` and `close` raise NotReady before the library is read, and after
    the end; and what the store raises."""

    def __init__(self, conf: ServeConf, takes: Takes, factories: Factories | None = None) -> None:
        """In tests `factories` replace the bundle's stages."""
        self.state: State = "starting"
        self.why = "it was not started"  # the reason why it starts, or has failed
        self._conf, self._takes, self._results = conf, takes, TakeResults(conf.serve, takes)
        self._pools = PoolStartup(conf, takes.store, factories, self._pools_ready, self._pools_failed)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._calls = CallQueue(self._check_open)
        self._is_open = False  # the library is read, and ours
        self._closing = threading.Event()
        self._close_s = 0.0  # the latest end, once it is closing, by the monotonic clock
        self._lock = FolderLock()
        self._runner: TakeRunner | None = None
        self._queue = TakeQueue(conf.serve, takes, self._results)
        self._orphans: list[str] = []  # folders without a record
        self._gauges = Gauges()
        self._expire_s = 0.0  # the next search for expired takes, by the monotonic clock

    def start(self) -> None:
        """Returns at once; `state` tells when it is ready."""
        self._thread.start()

    def close(self, drain_s: float) -> None:
        """Starts no more tasks, waits up to `drain_s` for running calls and their files, and ends the pools.

        Unfinished takes stay on disk, for the next engine. It may be called twice.
        """
        if self._thread.ident is None:  # never started
            return
        self._close_s = time.monotonic() + drain_s
        self._closing.set()
        self._drain()  # at once: requests are refused from now on
        self._calls.post(lambda: None)  # wakes it up
        self._thread.join()

    def live(self, take_id: str) -> EventLog | None:
        """The events of an active take; None for any other. Never raises."""
        return self._results.logs.get(take_id)

    def queue_position(self, take_id: str) -> int | None:
        """The place of a queued take, 1 for the next one; None for any other. Never raises."""
        return self._queue.place(take_id)

    @property
    def is_open(self) -> bool:
        """Whether the library has been read and is ours: before that, an existing take would seem to be missing."""
        return self._is_open

    def gauges(self) -> dict[str, float]:
        """Figures of a moment ago, as in `metrics.DESCRIPTIONS`. Never raises."""
        return self._gauges.latest

    @_in_thread
    def submit(self, take: Take) -> Take:
        """Queues a take, whose input is in its folder. Raises QueueFull, and ValueError for a video that can never be
        made.

        An extension has, byte for byte, the frames of a take with its prompt as a cue at the end of the other one.
        """
        if self._closing.is_set():
            raise NotReady(CLOSED)
        plan_for(for_video(self._conf, take.spec.settings), take.spec)  # only checked: a queued take keeps its request
        self._queue.check_room(self._num_begun)
        take = self._takes.create(replace(take, status=Status.QUEUED))
        self._queue.add(take)
        self._show_queue()
        return take

    @_in_thread
    def cancel(self, take_id: str) -> Take:
        """Ends a take; its files so far stay. No more calls of it start; running ones have `cancel_grace_s` to end.

        Does nothing to a take that has ended. Raises NoSuchTake.
        """
        take = self._takes.get(take_id)
        if take.is_active:
            if self._runner is not None and take_id in self._runner:
                take = self._runner.stop(take_id)
            else:
                self._queue.remove(take_id)
            self._end(take, CANCELLED)
            self._show_queue()
        return self._takes.get(take_id)

    @_in_thread
    def delete(self, take_id: str) -> None:
        """Removes a take with its files, after cancelling it if it is active. Raises NoSuchTake."""
        self.cancel(take_id)
        self._remove(take_id)

    @_in_thread
    def change_prompt(self, take_id: str, prompt: str) -> int:
        """Changes the prompt from the first chunk on that has not begun; returns the frame where that one starts.

        Raises NoSuchTake, and ValueError when it comes too late, or for an invalid prompt.
        """
        take = self._takes.get(take_id)
        if self._runner is not None and take_id in self._runner:
            return self._runner.change_prompt(take_id, prompt)
        if not take.is_active:
            raise FieldError.of("prompt", prompt, f"too late: the video is {take.status}")
        if take.started_at is not None or take.extends is not None:
            raise FieldError.of("prompt", prompt, "the video is waiting to resume; retry when it is in progress")
        self._takes.save(with_prompts(take, with_prompt(take.spec, 0, prompt)))
        self._results.logs[take_id].append("prompt", from_frame=0, prompt=prompt)
        return 0

    def _check_open(self) -> None:
        if not self._is_open:
            raise NotReady(self.why)

    # From here on: the engine's thread.

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                if self._take_folder(stack):
                    self._restore()
                    stack.callback(self._pools.close)  # before another engine gets the folder
                    self._pools.start()
                    while not self._is_over():
                        self._expire()
                        self._hand_out()
                        idle = self._runner is None or self._runner.is_idle
                        self._calls.run(EXPIRE_S if idle else 0)
                        if self._runner is not None:
                            self._runner.take_in(TURN_S)
        except Exception as error:  # the store cannot be reached, a pool is dead, a bug: the next engine resumes
            logger.exception("the engine has failed")
            self._fail(str(error))
        finally:
            self._is_open = False
            self._results.interrupt(self.why)

    def _take_folder(self, stack: ExitStack) -> bool:
        """Waits until no other engine has it: rule 4. False when it is closed before."""
        store = self._takes.store
        self.why = "it opens its folder"
        store.check("serve.takes")
        while not self._closing.is_set():
            try:
                self._lock = stack.enter_context(exclusive(store, "serve.takes", "another endpoint", LEASE))
                return True
            except ValueError as error:
                self.why = str(error)
                self._closing.wait(1.0)
        return False

    def _restore(self) -> None:
        """Reads the library; takes that were in progress come before those that waited."""
        store = self._takes.store
        store.put(MARK, f'{{"longtake": "{__version__}"}}'.encode())
        store.sweep()
        self._orphans = self._takes.load()
        active = [take for take in self._takes.all() if take.is_active]
        for take in sorted(active, key=lambda take: (take.status is Status.QUEUED, take.ordinal)):
            if take.transient:
                self._end(take, CLIENT_GONE)
            else:
                self._queue.add(self._with_progress(take))
        self.why = "its actors are being built"
        self._is_open = True

    def _with_progress(self, take: Take) -> Take:
        """The take with the progress of its files: viewers see it while the actors are built, which takes minutes."""
        if take.started_at is None:
            return take
        try:
            shape = shape_of(take, for_video(self._conf, take.spec.settings))
        except ValueError:  # it ends with this reason when it is begun
            return take
        sizes, _ = TakeWriter(self._takes.store).list_files(take.id)
        take = with_progress(take, shape, sizes)
        self._takes.note(take)
        return take

    def _pools_ready(self, pools: Mapping[str, Pool], bundle_sha256: str) -> None:
        """In the thread of the pools."""
        self._calls.post(lambda: self._ready(pools, bundle_sha256))

    def _pools_failed(self, why: str) -> None:
        """In the thread of the pools."""
        self._calls.post(lambda: self._fail(why))

    def _ready(self, pools: Mapping[str, Pool], bundle_sha256: str) -> None:
        self._runner = TakeRunner(self._conf, pools, bundle_sha256, self._takes, self._end)
        self._gauges.export()
        for take_id in self._orphans:
            self._runner.remove(take_id)
        if not self._closing.is_set():
            self.state, self.why = "ready", ""

    def _drain(self) -> None:
        if self.state != "failed":
            self.state, self.why = "draining", CLOSED

    def _fail(self, why: str) -> None:
        self.state, self.why = "failed", why

    def _is_over(self) -> bool:
        if self._lock.lost:
            raise RuntimeError(f"serve.takes={self._takes.store}: another endpoint has taken it over")
        if self._closing.is_set() and self.state != "failed":
            self._drain()  # again: the pools may have become ready meanwhile
            settled = self._runner is None or self._runner.is_settled
            return settled or time.monotonic() >= self._close_s
        return self.state == "failed"

    def _expire(self) -> None:
        """Removes expired takes."""
        if time.monotonic() < self._expire_s:
            return
        for take_id in self._takes.expired(time.time(), self._conf.serve.max_disk_bytes):
            logger.info("video expired id=%s", take_id)
            try:
                self._remove(take_id)
            except Exception as error:
                logger.warning("video not removed id=%s reason=%s", take_id, error)
        self._gauges.count(self._takes.all())
        self._expire_s = time.monotonic() + EXPIRE_S

    def _hand_out(self) -> None:
        """Starts all that can start."""
        if self._runner is not None:
            drains = self._closing.is_set()
            while self._num_begun < self._conf.serve.in_flight and not drains and (take_id := self._queue.next()):
                self._runner.begin(self._takes.get(take_id), self._results.logs[take_id])
            self._runner.hand_out(tasks=not drains)
        self._show_queue()
        without_call = len(self._without_call)
        now = {"queued": len(self._queue) + without_call, "running": self._num_begun - without_call}
        calls = self._runner.gauges() if self._runner is not None else {}
        self._gauges.show(now, calls, self._results.counts)

    @property
    def _num_begun(self) -> int:
        return 0 if self._runner is None else self._runner.num_takes

    @property
    def _without_call(self) -> Sequence[str]:
        """Takes that the runner has but that wait for their first call."""
        return () if self._runner is None else self._runner.waiting

    def _show_queue(self) -> None:
        self._queue.show(self._without_call)

    def _end(self, take: Take, error: Error | None) -> None:
        self._results.end(take, error)
        self._expire_s = 0.0  # the library may be too large now

    def _remove(self, take_id: str) -> None:
        """Removes the record, then the files of a take that is not active."""
        self._takes.forget(take_id)
        if self._runner is not None:
            self._runner.remove(take_id)
        else:  # no writer exists yet
            self._takes.store.remove(folder(take_id))
