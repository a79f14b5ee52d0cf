"""The engine's thread: hears what is asked, hands takes to the crew, writes down how they end.

1. Takes are made in the order in which they came, at most `in_flight` at once. When `max_queued` wait, one more is
   refused.
2. A take is accepted when its record is written. After a restart it goes on from its files, but for a transient one,
   whose client has gone with the process before.
3. The end of a take is written before anybody is told.
4. Two engines never work in one folder: the second waits for the first to end.
5. An engine whose pools cannot be had, or die, fails; takes stay as they are on disk, for the next one.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Literal

from longtake import __version__
from longtake.actors.pool import Pool
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.files.folder_lock import Hold, LeaseTimes, alone
from longtake.pipelines.runners.ray_cluster import Factories
from longtake.pipelines.serve.engine.crew import Crew
from longtake.pipelines.serve.engine.metrics import Exported
from longtake.pipelines.serve.engine.pool_startup import PoolHolder
from longtake.pipelines.serve.engine.results import CANCELLED, CLIENT_GONE, Error, Ledger
from longtake.pipelines.serve.library.paths import folder, fragment_name
from longtake.pipelines.serve.library.resume_plan import count_fragments, figures_of, shape_of
from longtake.pipelines.serve.library.take_files import MARK, TakeFiles
from longtake.pipelines.serve.library.takes import Status, Take, Takes, with_prompt
from longtake.pipelines.serve.settings import ServeConf

logger = logging.getLogger(__name__)
State = Literal["starting", "ready", "draining", "failed"]

TURN_S = 0.05  # that what is asked waits at most while calls run
EXPIRE_S = 10.0  # between looks for what has expired
LEASE = LeaseTimes(renew_s=5.0, dead_s=20.0, settle_s=3.0)  # people wait for the endpoint to be back
CLOSED = "the endpoint is closed"


class QueueFull(Exception):
    """As many takes wait as may wait."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"as many videos wait as may wait; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class NotReady(RuntimeError):
    """The engine starts, stops or has failed."""


class Loop:
    """`run` is the thread. What has no `_` and is no method that says so may be read from any other."""

    def __init__(
        self,
        conf: ServeConf,
        takes: Takes,
        commands: "queue.SimpleQueue[Callable[[], None]]",
        factories: Factories | None,
    ) -> None:
        self.state: State = "starting"
        self.why = "it was not started"
        self._ledger = Ledger(conf.serve, takes)
        self.lives = self._ledger.lives
        self.gauges: dict[str, float] = {}
        self._conf, self._takes, self._commands = conf, takes, commands
        self._holder = PoolHolder(conf, takes.store, factories, self._pools_ready, self._pools_failed)
        self._is_open = False  # the library is read, and ours
        self._stop = threading.Event()  # close() was called
        self._close_s = 0.0  # then: until when it waits, by the monotonic clock
        self._hold = Hold()
        self._crew: Crew | None = None
        self._exported: Exported | None = None
        self._waiting: deque[str] = deque()
        self._orphans: list[str] = []
        self._library: dict[str, float] = {}
        self._expire_s = 0.0  # when to look for what has expired, by the monotonic clock

    def check_open(self) -> None:
        """From any thread. Raises NotReady while nothing can be asked."""
        if not self._is_open:
            raise NotReady(self.why)

    def close(self, drain_s: float) -> None:
        """From any thread: the loop is to end, after at most `drain_s`."""
        self._close_s = time.monotonic() + drain_s
        self._stop.set()

    def run(self) -> None:
        """The thread's whole life."""
        try:
            with ExitStack() as stack:
                if self._take_folder(stack):
                    self._restore()
                    stack.callback(self._holder.close)  # before anybody else gets the folder
                    self._holder.start()
                    while not self._is_over():
                        self._tidy()
                        self._start()
                        self._hear()
                        self._take_in()
        except Exception as error:  # the store is away, a pool is dead, a mistake of ours: the next engine goes on
            logger.exception("the engine has failed")
            self._failed(str(error))
        finally:
            self._end_all()

    def submit(self, take: Take) -> Take:
        """In the thread. Raises QueueFull."""
        if self._stop.is_set():
            raise NotReady(CLOSED)
        params = self._conf.serve
        if len(self._waiting) + self._num_works >= params.in_flight + params.max_queued:
            raise QueueFull(self._ledger.retry_after_s)
        take = self._takes.create(replace(take, status=Status.QUEUED))
        self._wait(take)
        return take

    def cancel(self, take_id: str) -> Take:
        """In the thread. Raises NoSuchTake."""
        take = self._takes.get(take_id)
        if take.is_active:
            if self._crew is not None and take_id in self._crew:
                take = self._crew.stop(take_id)
            else:
                self._waiting.remove(take_id)
            self._end(take, CANCELLED)
        return self._takes.get(take_id)

    def delete(self, take_id: str) -> None:
        """In the thread. Raises NoSuchTake."""
        self.cancel(take_id)
        self._takes.forget(take_id)
        self._remove(take_id)

    def change_prompt(self, take_id: str, prompt: str) -> int:
        """In the thread. Raises NoSuchTake, ValueError, and NotYet."""
        take = self._takes.get(take_id)
        if self._crew is not None and take_id in self._crew:
            return self._crew.change_prompt(take_id, prompt)
        if not take.is_active:
            raise ValueError(f"prompt={prompt!r}: it comes too late, the video is {take.status}")
        if take.started_at is not None or take.extends is not None:
            raise ValueError(f"prompt={prompt!r}: the video waits to go on; change it when it is in work")
        self._takes.save(with_prompt(take, 0, prompt))
        self.lives[take_id].append("prompt", from_frame=0, prompt=prompt)
        return 0

    def _take_folder(self, stack: ExitStack) -> bool:
        """Waits until no other engine has it: rule 3. False when it is closed before."""
        store = self._takes.store
        self.why = "it looks at its folder"
        store.check("serve.takes")
        while not self._stop.is_set():
            try:
                self._hold = stack.enter_context(alone(store, "serve.takes", "another endpoint", LEASE))
                return True
            except ValueError as error:
                self.why = str(error)
                self._stop.wait(1.0)
        return False

    def _restore(self) -> None:
        """The library; takes that were in work come before those that waited."""
        store = self._takes.store
        store.put(MARK, f'{{"longtake": "{__version__}"}}'.encode())
        store.sweep()
        self._orphans = self._takes.load()
        active = [take for take in self._takes.all() if take.is_active]
        for take in sorted(active, key=lambda take: (take.status is Status.QUEUED, take.ordinal)):
            if take.transient:
                self._end(take, CLIENT_GONE)
            else:
                self._wait(self._looked_at(take))
        self.why = "its actors are being built"
        self._is_open = True

    def _looked_at(self, take: Take) -> Take:
        """With what is there of it: actors may take minutes to be built, and who asks meanwhile is told no less."""
        if take.started_at is None:
            return take
        try:
            shape = shape_of(take.spec, for_video(self._conf, take.spec.settings))
        except ValueError:  # the crew will say so
            return take
        sizes, _ = TakeFiles(self._takes.store).look(take.id)
        fragments = tuple(sizes[fragment_name(index)] for index in range(count_fragments(sizes)))
        take = replace(take, progress=figures_of(shape, sizes).percent, fragments=fragments)
        self._takes.note(take)
        return take

    def _pools_ready(self, ready: Mapping[str, Pool], bundle_sha256: str) -> None:
        self._commands.put(lambda: self._ready(ready, bundle_sha256))

    def _pools_failed(self, why: str) -> None:
        self._commands.put(lambda: self._failed(why))

    def _ready(self, ready: Mapping[str, Pool], bundle_sha256: str) -> None:
        self._crew = Crew(self._conf, ready, bundle_sha256, self._takes, self._end)
        self._exported = Exported()
        for take_id in self._orphans:
            self._crew.remove(take_id)
        if not self._stop.is_set():
            self.state, self.why = "ready", ""

    def _is_over(self) -> bool:
        if self._hold.lost:
            raise RuntimeError(f"serve.takes={self._takes.store}: another endpoint has taken it over")
        if self._stop.is_set() and self.state != "failed":
            self.state, self.why = "draining", CLOSED
            settled = self._crew is None or self._crew.is_settled
            return settled or time.monotonic() >= self._close_s
        return self.state == "failed"

    def _hear(self) -> None:
        """Does what was asked; where nothing else is to be done, waits for it."""
        try:
            if self._crew is None or self._crew.is_idle:
                self._commands.get(timeout=EXPIRE_S)()
            for _ in range(self._commands.qsize()):  # one that asks to be asked again waits for the next turn
                self._commands.get_nowait()()
        except queue.Empty:
            pass

    def _tidy(self) -> None:
        """Removes what has expired."""
        if time.monotonic() < self._expire_s:
            return
        for take_id in self._takes.expired(time.time(), self._conf.serve.max_disk_bytes):
            logger.info("video expired id=%s", take_id)
            try:
                self._takes.forget(take_id)
            except Exception as error:
                logger.warning("video not removed id=%s reason=%s", take_id, error)
                continue
            self._remove(take_id)
        takes = self._takes.all()
        self._library = {"videos": len(takes), "size_bytes": sum(take.size_bytes for take in takes)}
        self._expire_s = time.monotonic() + EXPIRE_S

    def _start(self) -> None:
        """Whatever may be started now, so that what is idle afterwards has nothing to do."""
        if self._crew is not None:
            drains = self._stop.is_set()
            while self._waiting and self._num_works < self._conf.serve.in_flight and not drains:
                take_id = self._waiting.popleft()
                self._crew.begin(self._takes.get(take_id), self.lives[take_id])
            self._crew.hand_out(tasks=not drains)
        self._show()

    def _take_in(self) -> None:
        if self._crew is not None:
            self._crew.take_in(TURN_S)

    def _show(self) -> None:
        counts = {name: float(count) for name, count in self._ledger.counts.items()}
        now = {"queued": float(len(self._waiting)), "running": float(self._num_works)}
        crew = self._crew.gauges() if self._crew is not None else {}
        self.gauges = {**now, **crew, **self._library, **counts}
        if self._exported is not None:
            self._exported.show(self.gauges)

    @property
    def _num_works(self) -> int:
        return 0 if self._crew is None else self._crew.num_works

    def _wait(self, take: Take) -> None:
        self._waiting.append(take.id)
        self._ledger.open(take)

    def _end(self, take: Take, error: Error | None) -> None:
        self._ledger.end(take, error)
        self._expire_s = 0.0  # there may be too much by now

    def _remove(self, take_id: str) -> None:
        """The files of a take that is forgotten. Without a crew nobody writes any."""
        if self._crew is not None:
            self._crew.remove(take_id)
        else:
            self._takes.store.remove(folder(take_id))

    def _failed(self, why: str) -> None:
        self.state, self.why = "failed", why

    def _end_all(self) -> None:
        """Whoever waits or listens learns that it is over; takes stay as they are on disk."""
        self._is_open = False
        while not self._commands.empty():
            self._commands.get_nowait()
        self._ledger.interrupt(self.why)
