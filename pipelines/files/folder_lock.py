"""Exclusive access to a folder: two jobs in one folder would write the same files.

A local folder is guarded by a lock, which ends with its process. In an object store a file `.lease` names the holder
and the time of the last renewal:

 1. The file is created once: of all that try, one holds the folder. It renews the lease and finally deletes it.
 2. A lease is dead when its holder is a process of this machine that is gone, or when nobody has renewed it for
    `dead_s`. A newcomer waits for that, or for a renewal, which shows that the holder is alive.
 3. A dead lease may be taken over: it is overwritten, and read again after `settle_s`. Of several processes that do so
    at once, the last one to write holds the folder.
 4. A holder reads before it renews. If the lease belongs to another, the folder is lost and is not taken back.
"""

import fcntl
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from longtake.pipelines.files.owner import Owner, this_process
from longtake.pipelines.files.store import Store, named
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.progress import doing, duration

logger = logging.getLogger(__name__)
LOCK, LEASE = ".lock", ".lease"
JOIN_S = 10.0


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds. All processes that use one folder must agree on them."""

    renew_s: float = 10.0
    dead_s: float = 60.0  # long enough for several renewals to fail
    settle_s: float = 3.0  # more than two requests take: reading a dead lease and overwriting it
    look_s: float = 2.0  # between two looks at a lease that may be dead


TIMES = LeaseTimes()


@dataclass(slots=True)
class FolderLock:
    """When `lost`, another process has taken the folder over, and nothing may be written there."""

    lost: bool = False


@contextmanager
def exclusive(
    store: Store, option: str = "out", other: str = "another job", times: LeaseTimes | None = None
) -> Iterator[FolderLock]:
    """Holds the folder inside the block, after waiting for a lease that may be dead. Only a lease can be lost.

    Raises Refused, naming `option`, the folder, `other` and its process, when another process holds it.
    """
    refusal = f"{option}={store}: {other} is already writing there"
    if store.local_path is None:
        with _leased(store, refusal, times or TIMES) as lock:
            yield lock
        return
    with (store.local_path / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Refused(f"{refusal}{_by(_read_owner(file.read()))}") from None
        with named(store.local_path / LOCK):
            _write_owner(file)
        yield FolderLock()


def _write_owner(file: TextIO) -> None:
    file.truncate(0)
    file.write(json.dumps(this_process().plain()))
    file.flush()


def _read_owner(text: str) -> Owner | None:
    with suppress(ValueError):
        return Owner.of(json.loads(text))
    return None


def _by(owner: Owner | None) -> str:
    return "" if owner is None else f": {owner}"


@contextmanager
def _leased(store: Store, refusal: str, times: LeaseTimes) -> Iterator[FolderLock]:
    lease, lock, ended = _Lease(store, times), FolderLock(), threading.Event()
    lease.take(refusal)
    # A daemon: it must not keep a process that ends.
    thread = threading.Thread(target=lease.keep, args=(lock, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join(JOIN_S)
        lease.give_back()


@dataclass(frozen=True, slots=True)
class _LeaseFile:
    """The content of `.lease`."""

    token: str
    renewed_s: float  # since 1970, by the holder's clock
    owner: Owner | None

    @classmethod
    def of(cls, data: bytes) -> "_LeaseFile":
        """Raises ValueError for a file that no job wrote."""
        try:
            fields = json.loads(data)
            return cls(fields["token"], fields["renewed_s"], Owner.of(fields.get("owner")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"it is not the lease of a job ({type(error).__name__}: {error})") from None


class _Lease:
    """The lease of one folder, for a process that holds it or tries to."""

    def __init__(self, store: Store, times: LeaseTimes) -> None:
        self._store, self._times = store, times
        # The thread repeats renewals, and a process that ends waits for no outage: the lease expires by itself.
        self._hasty = Store(store.url, patience_s=0)
        self.token = secrets.token_hex(16)

    def take(self, refusal: str) -> None:
        """Takes the folder, or raises Refused: rules 1 to 3."""
        seen, seen_s = self._try(dead=None), time.monotonic()
        while seen is not None:
            alive = None if seen.owner is None else seen.owner.is_alive()
            if alive:
                raise Refused(f"{refusal}{_by(seen.owner)}")
            dead = alive is False or self._is_dead(seen, seen_s, refusal)
            if dead:
                who = f" of {seen.owner}" if seen.owner else ""
                logger.warning("%s: taking over the lease%s, which is no longer renewed", self._store, who)
            seen, seen_s = self._try(seen if dead else None), time.monotonic()

    def _is_dead(self, seen: _LeaseFile, seen_s: float, refusal: str) -> bool:
        """Waits until the lease is dead (True) or given back (False). Raises Refused when it is renewed."""
        age = max(0.0, min(time.time() - seen.renewed_s, self._times.dead_s))  # clocks may differ
        until = seen_s + self._times.dead_s - age
        logger.info("%s: %s was active %s ago and may be gone: waiting up to %s for a sign of life",
                    self._store, seen.owner or "another job", duration(age), duration(until - seen_s))  # fmt: skip
        with doing(f"waiting for a sign of life from {seen.owner or 'another job'} in {self._store}"):
            while time.monotonic() < until:
                time.sleep(min(self._times.look_s, max(0.0, until - time.monotonic())))
                now = _read(self._store)
                if now is None:
                    return False
                if now != seen:
                    raise Refused(f"{refusal}{_by(now.owner)}")
        return True

    def _try(self, dead: _LeaseFile | None) -> _LeaseFile | None:
        """Takes a folder that is free, or whose lease is `dead`. Returns another holder, None if it is ours now."""
        if self._store.create(LEASE, self._content()):
            return None
        holder = _read(self._store)
        if holder is not None and holder.token != self.token and holder != dead:
            return holder
        self._store.put(LEASE, self._content())
        time.sleep(self._times.settle_s)
        holder = _read(self._store)
        return None if holder is None or holder.token == self.token else holder

    def keep(self, lock: FolderLock, ended: threading.Event) -> None:
        """The thread: renews the lease until `ended`, or until it is lost."""
        while not lock.lost and not ended.wait(self._times.renew_s):
            try:
                lock.lost = not self._renew()
            except Exception as error:  # the store cannot be reached: try again
                logger.warning("%s: the lease could not be renewed: %s", self._store, error)
        if lock.lost:
            logger.error("%s: another process has taken over the folder", self._store)

    def give_back(self) -> None:
        try:
            holder = _read(self._hasty)
            if holder is not None and holder.token == self.token:
                self._hasty.delete(LEASE)
        except Exception as error:  # the store cannot be reached
            logger.warning("%s: the lease could not be given back and expires by itself: %s", self._store, error)

    def _renew(self) -> bool:
        """False when another process holds the folder: rule 4."""
        holder = _read(self._hasty)
        if holder is None:  # deleted by hand, or taken over and given back since
            return self._hasty.create(LEASE, self._content())
        if holder.token == self.token:
            self._hasty.put(LEASE, self._content())
        return holder.token == self.token

    def _content(self) -> bytes:
        ours = {"token": self.token, "renewed_s": time.time(), "owner": this_process().plain()}
        return json.dumps(ours).encode()


def _read(store: Store) -> _LeaseFile | None:
    """Raises Refused for a file that is not a lease: deleting it is left to people."""
    with suppress(FileNotFoundError):
        data = store.get(LEASE)
        try:
            return _LeaseFile.of(data)
        except ValueError as error:
            raise Refused(f"{store}/{LEASE}: {error}; delete it if no job writes there") from None
    return None
