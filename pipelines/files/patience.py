"""Waiting for an object store that does not answer: its outages of seconds or minutes must not end a job of days."""

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from longtake.pipelines.terminal.progress import doing, duration

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 180.0
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 10.0

# Answers, not outages: asking again gives the same. FileExistsError answers a creation, and the caller expects it.
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
# s3fs raises EBUSY for a file that has changed.
FINAL_NUMBERS = (errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.ENOSPC, errno.EBUSY)
TEMPORARY_NAMES = ("Timeout", "Connection", "Disconnected", "Unavailable", "SlowDown", "Throttl", "HTTPClientError")


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, FINAL):
        return False
    answer = getattr(error.__cause__ or error, "response", None)
    if isinstance(answer, dict):  # of botocore, which s3fs makes an OSError of
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return status >= 500 or status in (408, 425, 429)
    if isinstance(error, OSError):
        return error.errno not in FINAL_NUMBERS
    # Errors of botocore, aiohttp and other clients have no common parent.
    return any(name in kind.__name__ for kind in type(error).__mro__ for name in TEMPORARY_NAMES)


@dataclass(slots=True)
class Patience:
    """Repeats calls to one store for at most `patience_s`. An outage makes two lines, however many threads wait."""

    store: str
    patience_s: float = PATIENCE_S
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _num_waiting: int = 0
    _away_s: float | None = None  # since when

    def call(self, call: Callable[[], T]) -> T:
        """The result of `call`. Raises its last error; an error that is an answer is raised at once."""
        try:
            return call()
        except Exception as error:
            if not self.patience_s or not may_pass(error):
                raise
            with self._waiting(error):
                return self._again(call)

    def _again(self, call: Callable[[], T]) -> T:
        began, pause = self.now(), FIRST_PAUSE_S
        while True:
            self.sleep(pause)
            try:
                result = call()
            except Exception as error:
                if not may_pass(error):
                    raise
                pause = min(2 * pause, MAX_PAUSE_S)
                if self.now() - began + pause > self.patience_s:
                    away = f"{self.store} did not answer for {duration(self.now() - began)}"
                    raise OSError(errno.ETIMEDOUT, f"{away} ({_short(error)})") from None
            else:
                self._answered()
                return result

    @contextmanager
    def _waiting(self, error: Exception) -> Iterator[None]:
        with self._lock:
            self._num_waiting += 1
            first = self._away_s is None
            self._away_s = self.now() if self._away_s is None else self._away_s
        if first:
            logger.warning("%s does not answer (%s): trying again for up to %s",
                           self.store, _short(error), duration(self.patience_s))  # fmt: skip
        try:
            with doing(f"waiting for {self.store}, which does not answer"):
                yield
        finally:
            with self._lock:
                self._num_waiting -= 1
                self._away_s = self._away_s if self._num_waiting else None

    def _answered(self) -> None:
        with self._lock:
            away_s, self._away_s = self._away_s, None
        if away_s is not None:
            logger.warning("%s answers again after %s", self.store, duration(self.now() - away_s))


def _short(error: Any) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
