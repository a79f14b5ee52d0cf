"""The tracker of a job: takes params, tags, metrics and files at any time, and sends them to MLflow from a thread.

    params tags --> facts  --|
    metrics     --> points --|--> one daemon thread, once per interval --> MLflow's store, artifact store
    table artifact -> files -|

1. A call puts something into a queue and returns. It never raises because of the store, and never waits for it.
2. If the store does not answer, the thread tries again one interval later. Until then everything is kept, up to a
   bound: beyond it the oldest metrics are dropped, and new params, tags and files are refused. The log has the count.
3. What the store refuses for good (a deleted run, a missing file) is lost too, and the rest is still sent.
4. A run is identified by a key of our own, which is a tag of the run. It exists before the store has answered, so a job
   that is killed in its first second is continued too, and a run whose creation timed out is not created twice.

MLflow's own asynchronous logging (3.17) drops a batch whose call fails, and waits for the store at exit without limit.
"""

import hashlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType

from longtake.pipelines.tracking.mlflow_run import MAX_POINTS_BATCH, MlflowRun, Point, Status, is_final, now_ms
from longtake.pipelines.tracking.text import csv_table, first_line, legal_key, plain_text

logger = logging.getLogger(__name__)

END_S = 10.0
MAX_POINTS = 50_000  # 30 metrics every 10 s: more than 4 hours
MAX_WAITING = 1000  # in each of the other two queues
MAX_HELD_BYTES = 64 * 2**20
MAX_CHARS = 6000  # of one param, MLflow's limit

_Send = Callable[[MlflowRun], None]


class Tracker:
    """The recorder of one job. Any thread may call it, and no error of the store reaches the caller (rule 1)."""

    def __init__(self, key: str, begin: Callable[[], MlflowRun] | None, interval_s: float) -> None:
        """`begin` finds or creates the run; None disables recording."""
        self.key = key
        self._begin, self._interval_s = begin, interval_s
        self._run: MlflowRun | None = None
        self._lock = threading.Lock()
        self._newest: dict[str, Point] = {}
        self._points: deque[Point] = deque(maxlen=MAX_POINTS)
        self._facts: deque[tuple[_Send, int]] = deque()
        self._files: deque[tuple[_Send, int]] = deque()
        self._held_bytes = 0
        self._lost = 0
        self._refusal_logged = self._store_down = self._end_sent = False
        self._status: Status = "FINISHED"
        self._ended = threading.Event()
        # Since Ray 2.57 a worker's exit waits for threads that are no daemons.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        if begin is not None:
            self._thread.start()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, as its pages show it; None until the store has answered."""
        return None if self._run is None else self._run.run_id

    def origin(self, values: Mapping[str, str]) -> None:
        """Tags on the origin of the results; like params, they are not overwritten."""
        self._put(self._facts, lambda run: run.origin(values))

    def params(self, values: Mapping[str, object]) -> None:
        """Settings of the job. A value that differs from an earlier one in this run becomes the tag `changed.KEY`."""
        texts = self._texts(values)
        self._put(self._facts, lambda run: run.params(texts))

    def tags(self, values: Mapping[str, object]) -> None:
        """Facts that may change: the newest value stays."""
        texts = self._texts(values)
        self._put(self._facts, lambda run: run.tags(texts))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers as of now. The default step is the seconds since the run began, so a resumed run has larger ones."""
        if self._open:
            now = now_ms()
            points = {key: Point(legal_key(key), float(value), now, step) for key, value in values.items()}
            with self._lock:
                self._newest |= points

    def table(self, rows: Sequence[Mapping[str, object]], name: str = "videos") -> None:
        """Rows as one more CSV file in the artifact folder `name`; the names of the files sort by time."""
        # MLflow's own log_table reads and writes the whole table again each time: 10,000 rows by the hundred took 21 s,
        # as CSV parts 0.4 s (2 busy cores, local disk). MLflow's pages show CSV as a table too.
        if rows:
            self.artifact(csv_table(rows), f"{name}/{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.csv")

    def artifact(self, data: bytes | Path, place: str) -> None:
        """A file of the run. A Path is read when it is sent, so it must stay until then.

        Raises ValueError for a `place` that is not a path of plain names: stores disagree about all other characters.
        """
        plain = re.fullmatch(r"[\w.-]+(/[\w.-]+)*", place) is not None and not {".", ".."} & {*place.split("/")}
        if not plain or len(place.encode()) > 250:
            rule = "must be a relative path of letters, digits, ., _, - and /, at most 250 bytes"
            raise ValueError(f"place={place!r}: {rule}")
        size_bytes = len(data) if isinstance(data, bytes) else 0
        self._put(self._files, lambda run: run.file(data, place), size_bytes)

    def end(self, status: Status = "FINISHED") -> None:
        """Sends what is queued and ends the run. Returns within 10 s; a second call does nothing."""
        if not self._open:
            return
        self._status = status
        self._ended.set()
        self._thread.join(END_S)
        lost = self._lost + len(self._points) + len(self._facts) + len(self._files)
        if lost or not self._end_sent:
            outcome = "was" if self._end_sent else "could not be"
            logger.warning(
                "tracking: run %s %s ended as %s; %d values or files are lost", self.key, outcome, status, lost
            )

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        self.end("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    @property
    def _open(self) -> bool:
        return self._begin is not None and not self._ended.is_set()

    def _texts(self, values: Mapping[str, object]) -> dict[str, str]:
        """Keys and values in MLflow's form. A value that is too long is also written in full, as an artifact."""
        texts = {legal_key(key): plain_text(value) for key, value in values.items()}
        for key, text in texts.items():
            if len(text) > MAX_CHARS:
                digest = hashlib.sha256(text.encode()).hexdigest()[:8]
                place = "long/" + re.sub(r"[^\w.-]", "_", f"{key[:60]}-{digest}.txt")
                self.artifact(text.encode(), place)
                texts[key] = f"{text[: MAX_CHARS - 400]}... {len(text)} characters, all of them in {place}"
        return texts

    def _put(self, queue: deque[tuple[_Send, int]], send: _Send, size_bytes: int = 0) -> None:
        if not self._open:
            return
        with self._lock:
            if len(queue) < MAX_WAITING and self._held_bytes + size_bytes <= MAX_HELD_BYTES:
                queue.append((send, size_bytes))
                self._held_bytes += size_bytes
            else:
                self._lost += 1

    def _work(self) -> None:
        """The thread: one attempt per interval, and one more at the end."""
        while True:
            ended = self._ended.is_set()
            try:
                self._gather()
                self._deliver(ended)
            except Exception as error:  # the store does not answer: everything stays queued
                if not self._store_down:
                    logger.warning("tracking is unavailable, the job continues: %s", first_line(error))
                self._store_down = True
            else:
                if self._store_down:
                    logger.warning("tracking is available again; %d values or files were lost", self._lost)
                self._store_down = False
            if ended:
                return
            self._ended.wait(self._interval_s)

    def _gather(self) -> None:
        machine = [] if self._run is None else self._run.machine()
        with self._lock:
            points, self._newest = [*self._newest.values(), *machine], {}
            self._lost += max(0, len(self._points) + len(points) - MAX_POINTS)
        self._points.extend(points)

    def _deliver(self, ended: bool) -> None:
        """Sends everything; raises what the store raises. Files come last: their store may fail alone."""
        assert self._begin is not None, "only an open tracker has a thread"
        self._run = self._run or self._begin()
        self._drain(self._facts, self._run)
        while batch := list(islice(self._points, MAX_POINTS_BATCH)):
            self._attempt(partial(MlflowRun.points, points=batch), self._run, len(batch))
            for _ in batch:
                self._points.popleft()
        if ended:
            self._end_sent = self._attempt(partial(MlflowRun.end, status=self._status), self._run, 0)
        self._drain(self._files, self._run)

    def _drain(self, queue: deque[tuple[_Send, int]], run: MlflowRun) -> None:
        while queue:
            send, size_bytes = queue[0]
            self._attempt(send, run, 1)
            with self._lock:
                queue.popleft()
                self._held_bytes -= size_bytes

    def _attempt(self, send: _Send, run: MlflowRun, count: int) -> bool:
        """Calls `send`, which brings `count` values or files; False if the store refuses them for good."""
        try:
            send(run)
        except Exception as error:
            if not is_final(error):
                raise
            if not self._refusal_logged:
                logger.warning(
                    "tracking: MLflow rejected a value or file; others are still sent: %s", first_line(error)
                )
            self._refusal_logged = True
            self._lost += count
            return False
        return True
