"""How takes wait and end: their records, and those who listen."""

import logging
import time
from collections import Counter, deque
from dataclasses import replace

from longtake.pipelines.serve.library.events import Live
from longtake.pipelines.serve.library.takes import Status, Take, Takes
from longtake.pipelines.serve.settings import ServeParams

logger = logging.getLogger(__name__)

# (code, message) of a take that was not completed
Error = tuple[str, str]
CANCELLED: Error = ("cancelled", "The video was cancelled.")
NOT_WRITTEN: Error = ("storage_failed", "The files of the video could not be written.")
CLIENT_GONE: Error = (
    "interrupted",
    "The endpoint stopped while the video was made for a client that has gone with it.",
)
OTHER_SETTINGS: Error = ("interrupted", "The endpoint was started again with other weights or settings meanwhile.")


def not_made(reason: str) -> Error:
    return "generation_failed", reason


class Ledger:
    """The end of a take is written before anybody is told."""

    def __init__(self, params: ServeParams, takes: Takes) -> None:
        self._params, self._takes = params, takes
        self.lives: dict[str, Live] = {}  # of takes that are active; other threads look here
        self.counts = Counter[str](completed=0, failed=0, cancelled=0)
        self._seconds: deque[float] = deque(maxlen=16)  # that the latest takes were in work

    def open(self, take: Take) -> None:
        """It waits."""
        self.lives[take.id] = live = Live()
        live.append("status", status=Status.QUEUED.value)

    def end(self, take: Take, error: Error | None) -> None:
        """It is completed, or has failed."""
        now, status = int(time.time()), Status.COMPLETED if error is None else Status.FAILED
        progress = 100 if error is None else take.progress
        take = replace(take, status=status, error=error, progress=progress)
        take = replace(take, completed_at=now, expires_at=now + self._params.expires_s)
        try:
            self._takes.save(take)
        except Exception as failure:  # in memory it has ended; on disk it goes on after a restart
            logger.error("record cannot be written id=%s reason=%s", take.id, failure)
            self._takes.note(take)
        logger.info("video ended id=%s status=%s code=%s", take.id, status, error[0] if error else "")
        if take.started_at is not None:
            self._seconds.append(now - take.started_at)
        self.counts["cancelled" if error == CANCELLED else status.value] += 1
        if (live := self.lives.pop(take.id, None)) is not None:
            live.append("status", status=status.value)
            self._tell_end(live, error)

    def interrupt(self, why: str) -> None:
        """Takes stay as they are on disk; whoever listens hears that nothing more comes from here."""
        for live in list(self.lives.values()):
            live.append("interrupted", why=why)
        self.lives.clear()

    @property
    def retry_after_s(self) -> float:
        """When a place in the queue is likely to be free."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 10.0
        return min(300.0, max(1.0, mean / self._params.in_flight))

    def _tell_end(self, live: Live, error: Error | None) -> None:
        if error is None:
            live.append("completed")
        else:
            live.append("failed", code=error[0], message=error[1])
