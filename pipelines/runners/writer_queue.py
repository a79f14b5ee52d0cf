"""Jobs for the writer actors, run in order as actors become idle.

1. A job may belong to a video. When the video is dropped, its waiting jobs are removed and its running jobs end as
   unwanted. Jobs added later are wanted again: a video that restarts is dropped first.
2. A job that is lost with its actor waits again, before all others, `max_attempts` times at most; then it has raised.
3. Any other end is for the owner to handle: a method that raised, or an argument that died with a machine.
"""

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool
from longtake.actors.worker import Receipt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class WriterJob:
    """A method of a writer and its arguments. `video_id` names the video that it belongs to, if any."""

    method: str
    args: tuple[Any, ...]
    video_id: str = ""
    subject: Any = None  # the owner's; it comes back with the result
    attempts: int = 0  # that were lost

    def __str__(self) -> str:
        return f"{self.method} of {self.video_id}" if self.video_id else self.method


@dataclass(frozen=True, slots=True, eq=False)
class JobResult:
    """The end of a job. A lost one waits again if it is wanted."""

    job: WriterJob
    fate: Fate
    wanted: bool  # its video was not dropped meanwhile
    why: str  # of one that is not done
    error: BaseException | None  # the exception of one that raised
    carry: Any  # references to the two values that it returned
    output: Any
    receipt: Receipt | None  # of one that is done


class WriterQueue:
    """The jobs of one owner, who shares `calls` with the queue and hands it the outcomes of its jobs."""

    def __init__(self, writer: Pool, calls: Calls, max_attempts: int) -> None:
        self._writer, self._calls, self._max_attempts = writer, calls, max_attempts
        self._waiting: deque[WriterJob] = deque()
        self._running: set[WriterJob] = set()  # those that are wanted

    def put(self, job: WriterJob, first: bool = False) -> None:
        """Adds a job behind all others, or before them."""
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)

    def num_waiting(self, method: str | None = None) -> int:
        """Jobs, of one method or of all, that no writer has begun."""
        return sum(method in (None, job.method) for job in self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs, unwanted ones included."""
        return bool(self._waiting) or self._calls.running(self._writer) > 0

    def hand_out(self) -> None:
        """Starts as many jobs as there are idle writers."""
        while self._waiting and self._writer.num_idle:
            job = self._waiting.popleft()
            self._running.add(job)
            self._calls.start(self._writer, job.video_id, job, job.method, *job.args)

    def drop(self, video_id: str) -> None:
        """Makes the jobs of a video unwanted: rule 1."""
        self._waiting = deque(job for job in self._waiting if job.video_id != video_id)
        self._running = {job for job in self._running if job.video_id != video_id}
        self._writer.forget(lambda key: key in (video_id, (video_id, None)))  # the second: chunks that are read

    def take_in(self, outcome: Outcome) -> JobResult:
        """The result of a call whose subject is a WriterJob: rules 2 and 3."""
        job: WriterJob = outcome.call.subject
        wanted = job in self._running
        self._running.discard(job)
        fate, why = outcome.fate, outcome.why
        if fate is Fate.LOST and job.attempts + 1 >= self._max_attempts:
            fate, why = Fate.RAISED, f"a writer's call {job.method} was tried {job.attempts + 1} times: {why}"
        elif fate is Fate.LOST and wanted:
            again = replace(job, attempts=job.attempts + 1)
            logger.warning("call retried, attempt %d of %d: %s", again.attempts + 1, self._max_attempts, job)
            self.put(again, first=True)
        call = outcome.call
        return JobResult(job, fate, wanted, why, outcome.error, call.carry, call.output, outcome.receipt)
