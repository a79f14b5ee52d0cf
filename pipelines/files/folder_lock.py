"""Who may write in a folder: two who did at once would write the same files.

A local folder is guarded by a lock, which ends with its process. In an object store a file `.lease` says who holds the
folder, and when that was last renewed:

 1. The file is created once: of all who try, one holds the folder. It renews the lease and, in the end, deletes it.
 2. A lease that was not renewed for `dead_s` is dead and may be taken over: it is written over, and read again after
    `settle_s`. Of several who do so at once the last one to write holds the folder.
 3. A holder looks before it renews. When the lease is another's, the folder is lost, and is not taken back.

Times are by the clocks of the machines, which have to agree to within a minute.
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
    """Seconds. All who ask for one folder have to agree on them."""

    renew_s: float = 30.0
    dead_s: float = 120.0  # several renewals may fail before it is over
    settle_s: float = 3.0  # more than it takes from reading a dead lease to having written over it: two requests


TIMES = LeaseTimes()


@dataclass(slots=True)
class Hold:
    """Held while `lost` is False. Then somebody else has taken the folder over, and nothing may be written there."""

    lost: bool = False


@contextmanager
def alone(
    store: Store, option: str = "out", other: str = "another job", times: LeaseTimes | None = None
) -> Iterator[Hold]:
    """Nobody else gets the folder meanwhile. Only one in an object store can be lost.

    Raises ValueError, naming `option`, the folder and `other`, when somebody has it.
    """
    if store.local_path is None:
        with _leased(store, f"{option}={store}: {other} is writing there now", times or TIMES) as hold:
            yield hold
        return
    with (store.local_path / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{option}={store}: {other} is writing there now") from None
        yield Hold()


@contextmanager
def _leased(store: Store, refusal: str, times: LeaseTimes) -> Iterator[Hold]:
    lease, hold, ended = _Lease(store, times), Hold(), threading.Event()
    holder = lease.take()
    if holder.token != lease.token:
        last = f"{datetime.fromtimestamp(holder.renewed_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        raise ValueError(f"{refusal}; it last said so at {last}, and is taken for dead {times.dead_s:g} s after that")
    # A daemon: it must not keep a process that ends.
    thread = threading.Thread(target=lease.keep, args=(hold, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield hold
    finally:
        ended.set()
        thread.join(JOIN_S)
        lease.give_back()


@dataclass(frozen=True, slots=True)
class _Holder:
    """What the file says."""

    token: str
    renewed_s: float  # since 1970


class _Lease:
    """The lease of one folder, as one who holds it or wants to sees it."""

    def __init__(self, store: Store, times: LeaseTimes) -> None:
        self._store, self._times = store, times
        self.token = secrets.token_hex(16)

    def take(self) -> _Holder:
        """Takes the folder if it is free. Returns who holds it now: rules 1 and 2."""
        if self._store.create(LEASE, self._content()):
            return self._ours()
        holder = self._read()
        if holder is not None:  # else it was given back just now
            if time.time() - holder.renewed_s <= self._times.dead_s:
                return holder
            logger.warning("%s: a lease that nobody renewed any more is taken over", self._store)
        self._store.put(LEASE, self._content())
        time.sleep(self._times.settle_s)
        return self._read() or self._ours()

    def keep(self, hold: Hold, ended: threading.Event) -> None:
        """The thread: renews the lease until `ended`, or until it is lost."""
        while not hold.lost and not ended.wait(self._times.renew_s):
            try:
                hold.lost = not self._renew()
            except Exception as error:  # the store is away: it is asked again
                logger.warning("%s: the lease could not be renewed: %s", self._store, error)
        if hold.lost:
            logger.error("%s: somebody else has taken the folder over", self._store)

    def give_back(self) -> None:
        with suppress(Exception):  # the store is away: the lease ends by itself
            holder = self._read()
            if holder is not None and holder.token == self.token:
                self._store.delete(LEASE)

    def _renew(self) -> bool:
        """False when somebody else has it: rule 3."""
        holder = self._read()
        if holder is None:  # deleted by hand, or taken over and given back since
            return self._store.create(LEASE, self._content())
        if holder.token == self.token:
            self._store.put(LEASE, self._content())
        return holder.token == self.token

    def _ours(self) -> _Holder:
        return _Holder(self.token, time.time())

    def _content(self) -> bytes:
        return json.dumps(asdict(self._ours())).encode()

    def _read(self) -> _Holder | None:
        with suppress(FileNotFoundError):
            return _Holder(**json.loads(self._store.get(LEASE)))
        return None
