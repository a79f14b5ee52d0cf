"""Exclusive access to a folder: two jobs in one folder would write the same files.

A local folder is guarded by a lock, which ends with its process. In an object store a file `.lease` names the holder
and the time of the last renewal:

 1. The file is created once: of all that try, one holds the folder. It renews the lease and finally deletes it.
 2. A lease that was not renewed for `dead_s` is dead and may be taken over: it is overwritten, and read again after
    `settle_s`. Of several processes that do so at once, the last one to write holds the folder.
 3. A holder reads before it renews. If the lease belongs to another, the folder is lost and is not taken back.

Times come from the clocks of the machines, which have to agree to within a minute.
"""

import fcntl
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from longtake.pipelines.files.store import Store

logger = logging.getLogger(__name__)
LOCK, LEASE = ".lock", ".lease"
JOIN_S = 10.0


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds. All processes that use one folder must agree on them."""

    renew_s: float = 30.0
    dead_s: float = 120.0  # several renewals may fail before
    settle_s: float = 3.0  # more than two requests take: reading a dead lease and overwriting it


TIMES = LeaseTimes()


@dataclass(slots=True)
class FolderLock:
    """When `lost`, another process has taken the folder over, and nothing may be written there."""

    lost: bool = False


@contextmanager
def exclusive(
    store: Store, option: str = "out", other: str = "another job", times: LeaseTimes | None = None
) -> Iterator[FolderLock]:
    """Holds the folder meanwhile. Only one in an object store can be lost.

    Raises ValueError, naming `option`, the folder and `other`, when another process holds it.
    """
    if store.local_path is None:
        with _leased(store, f"{option}={store}: {other} is already writing there", times or TIMES) as lock:
            yield lock
        return
    with (store.local_path / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{option}={store}: {other} is already writing there") from None
        yield FolderLock()


@contextmanager
def _leased(store: Store, refusal: str, times: LeaseTimes) -> Iterator[FolderLock]:
    lease, lock, ended = _Lease(store, times), FolderLock(), threading.Event()
    holder = lease.take()
    if holder.token != lease.token:
        last = f"{datetime.fromtimestamp(holder.renewed_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        raise ValueError(
            f"{refusal}; its last heartbeat was at {last}, and its lease expires {times.dead_s:g} s after that"
        )
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
    renewed_s: float  # since 1970


class _Lease:
    """The lease of one folder, for a process that holds it or tries to."""

    def __init__(self, store: Store, times: LeaseTimes) -> None:
        self._store, self._times = store, times
        self.token = secrets.token_hex(16)

    def take(self) -> _LeaseFile:
        """Takes the folder if it is free. Returns the present holder: rules 1 and 2."""
        if self._store.create(LEASE, self._content()):
            return self._ours()
        holder = self._read()
        if holder is not None:  # else it was given back meanwhile
            if time.time() - holder.renewed_s <= self._times.dead_s:
                return holder
            logger.warning("%s: taking over a lease that is no longer renewed", self._store)
        self._store.put(LEASE, self._content())
        time.sleep(self._times.settle_s)
        return self._read() or self._ours()

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
        with suppress(Exception):  # the store cannot be reached: the lease expires by itself
            holder = self._read()
            if holder is not None and holder.token == self.token:
                self._store.delete(LEASE)

    def _renew(self) -> bool:
        """False when another process holds the folder: rule 3."""
        holder = self._read()
        if holder is None:  # deleted by hand, or taken over and given back since
            return self._store.create(LEASE, self._content())
        if holder.token == self.token:
            self._store.put(LEASE, self._content())
        return holder.token == self.token

    def _ours(self) -> _LeaseFile:
        return _LeaseFile(self.token, time.time())

    def _content(self) -> bytes:
        return json.dumps(asdict(self._ours())).encode()

    def _read(self) -> _LeaseFile | None:
        with suppress(FileNotFoundError):
            return _LeaseFile(**json.loads(self._store.get(LEASE)))
        return None
