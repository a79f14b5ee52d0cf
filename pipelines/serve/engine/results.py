"""Ends of takes: their records, and the events that announce them."""

import logging
import time
from collections import Counter, deque
from dataclasses import replace

from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.takes import Status, Take, Takes
from longtake.pipelines.serve.settings import ServeParams

logger = logging.getLogger(__name__)

# (code, message) of a take that was not completed
Error = tuple[str, str]
CANCELLED: Error = ("cancelled", "The video was cancelled.")
NOT_WRITTEN: Error = ("storage_failed", "The files of the video could not be written.")
CLIENT_GONE: Error = ("interrupted", "The endpoint stopped, which closed the connection that requested the video.")
OTHER_SETTINGS: Error = ("interrupted", "The endpoint was restarted with other weights or settings.")


def not_made(reason: str) -> Error:
    return "generation_failed", reason


class TakeResults:
    """The end of a take is written before it is announced."""

    def __init__(self, params: ServeParams, takes: Takes) -> None:
        self._params, self._takes = params, takes
        self.logs: dict[str, EventLog] = {}  # of active takes; other threads read this
        self.counts = Counter[str](completed=0, failed=0, cancelled=0)
        self._seconds: deque[float] = deque(maxlen=16)  # from start to end of the latest takes

    def open(self, take: Take) -> None:
        """Announces that a take waits."""
        self.logs[take.id] = log = EventLog()
        log.append("status", status=Status.QUEUED.value)

    def end(self, take: Take, error: Error | None) -> None:
        """Completes a take, or fails it with `error`."""
        now, status = int(time.time()), Status.COMPLETED if error is None else Status.FAILED
        progress = 100 if error is None else take.progress
        take = replace(take, status=status, error=error, progress=progress)
        take = replace(take, completed_at=now, expires_at=now + self._params.expires_s)
        try:
            self._takes.save(take)
        except Exception as failure:  # ended in memory; on disk it resumes after a restart
            logger.error("record cannot be written id=%s reason=%s", take.id, failure)
            self._takes.note(take)
        logger.info("video ended id=%s status=%s code=%s", take.id, status, error[0] if error else "")
        if take.started_at is not None:
            self._seconds.append(now - take.started_at)
        self.counts["cancelled" if error == CANCELLED else status.value] += 1
        if (log := self.logs.pop(take.id, None)) is not None:
            log.append("status", status=status.value)
            if error is None:
                log.append("completed")
            else:
                log.append("failed", code=error[0], message=error[1])

    def interrupt(self, why: str) -> None:
        """Ends the events of all active takes, which stay as they are on disk."""
        for log in list(self.logs.values()):
            log.append("interrupted", why=why)
        self.logs.clear()

    @property
    def retry_after_s(self) -> float:
        """Seconds until a place in the queue is likely to be free."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 10.0
        return min(300.0, max(1.0, mean / self._params.in_flight))
