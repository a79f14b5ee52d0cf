"""MLflow: every bulk, train and evaluate job is an MLflow run. Only this file and `mlflow_run.py` import mlflow.

    params tags --> facts  --|
    metrics     --> points --|--> one daemon thread, once per interval --> MLflow's store, artifact store
    table artifact -> files -|

1. A call puts something into a queue and returns. It raises nothing and waits for nothing, whatever the store does.
2. A store that does not answer is asked again one interval later. Until then everything is kept, up to a bound: beyond
   it the oldest metrics go, and new params, tags and files are not taken. How many were lost is said.
3. What the store refuses for good (a deleted run, a file that is gone) is lost too, and what follows goes on.
4. A run is known by a key of our own, which is a tag of the run. It is there before the store has answered, so a job
   that is killed in its first second is continued as well, and a run whose creation timed out is not made twice.
"""

import csv
import hashlib
import importlib
import io
import logging
import os
import re
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal

from longtake import __version__
from longtake.models.domain.checks import require
from longtake.pipelines.config.paths import PACKAGE
from longtake.pipelines.tracking.mlflow_run import (
    MAX_POINTS_BATCH,
    MlflowRun,
    Point,
    Status,
    begin_run,
    is_final,
    masked,
    now_ms,
)

logger = logging.getLogger(__name__)

Kind = Literal["bulk", "train", "evaluate"]

HOME = PACKAGE.parent
PACKAGES = ("ray", "torch", "diffusers", "transformers", "av")
END_S = 10.0
MAX_POINTS = 50_000  # 30 metrics every 10 s: more than 4 hours
MAX_WAITING = 1000  # in each of the other two queues
MAX_HELD_BYTES = 64 * 2**20
MAX_CHARS = 6000  # of one param, MLflow's limit

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # a new sqlite store tells about its tables; what matters we say ourselves
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # we ask again ourselves; urllib3 would log a line for each retry
}


@dataclass(frozen=True, slots=True)
class TrackingParams:
    """Where a job is recorded. Raises ValueError with the field, its value and the rule."""

    enabled: bool = True
    uri: str | None = None  # else MLFLOW_TRACKING_URI, else a sqlite file in the output folder
    experiment: str = "longtake"
    name: str | None = None  # of the run; else the kind of job and the start of its key
    interval_s: float = 10.0  # metrics are sent at most this often: each key's newest value
    system_metrics: bool = True  # CPU, memory, disk, network and GPUs of the machine that runs the job

    def __post_init__(self) -> None:
        for field in ("enabled", "system_metrics"):
            require(isinstance(getattr(self, field), bool), field, getattr(self, field), "it has to be true or false")
        for field in ("uri", "experiment", "name"):
            value = getattr(self, field)
            holds = (value is None and field != "experiment") or (isinstance(value, str) and bool(value.strip()))
            require(holds, field, value, "it has to be a text that is not blank")
        number = isinstance(self.interval_s, int | float) and not isinstance(self.interval_s, bool)
        rule = "it has to be a number of seconds, more than 0 and at most 3600"
        require(number and 0 < self.interval_s <= 3600, "interval_s", self.interval_s, rule)


def open_tracker(params: TrackingParams, folder: Path | None, kind: Kind, key: str | None = None) -> "Tracker":
    """Begins the run of a job, or continues the one that an earlier Tracker with this `key` began.

    `folder` is the local output folder, where `mlflow.db` and `mlflow-artifacts` go unless another store is asked for;
    None stands for the working directory. Raises ValueError for a key that never was one, or for a folder whose name
    sqlite cannot open.
    """
    if key is not None and not re.fullmatch(r"[\w-]{1,64}", key, re.ASCII):
        raise ValueError(f"key={key!r}: it has to be the key of an earlier tracker: letters, digits, - and _")
    resumed, key = key is not None, key or uuid.uuid4().hex  # it names a run, and every run is another one
    if not params.enabled:
        return Tracker(key, None, params.interval_s)
    uri = _store(params, folder)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # 2 s, and not in the thread: while two threads import pandas at once, each may see the other's half of it.
    importlib.import_module("mlflow")
    name = params.name or f"{kind}-{key[:8]}"
    begin = partial(begin_run, uri, key, params.experiment, name, now_ms(), resumed, params.system_metrics)
    tracker = Tracker(key, begin, params.interval_s)
    tracker.origin(_origin(kind))
    return tracker


def _store(params: TrackingParams, folder: Path | None) -> str:
    uri = params.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    place = (folder or Path()).absolute()
    require("?" not in str(place), "folder", str(place), "mlflow.db cannot lie under a name with ?; set tracking.uri")
    return f"sqlite:///{place}/mlflow.db"


_Send = Callable[[MlflowRun], None]


class Tracker:
    """What a job says about itself. Any thread may call it, and it raises nothing that a store does (rule 1)."""

    def __init__(self, key: str, begin: Callable[[], MlflowRun] | None, interval_s: float) -> None:
        """`begin` finds or makes the run; None where nothing is to be recorded."""
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
        self._refused = self._away = self._told = False
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
        """Tags that tell where results come from; like params, they are not overwritten."""
        self._put(self._facts, lambda run: run.origin(values))

    def params(self, values: Mapping[str, object]) -> None:
        """What was asked for. A value that an earlier part of this run knew otherwise becomes the tag `changed.KEY`."""
        texts = self._texts(values)
        self._put(self._facts, lambda run: run.params(texts))

    def tags(self, values: Mapping[str, object]) -> None:
        """Facts that may be said again: the newest value stays."""
        texts = self._texts(values)
        self._put(self._facts, lambda run: run.tags(texts))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers as of now. Without a step: seconds since the run began, so a resumed run goes on with larger ones."""
        if self._open:
            now = now_ms()
            points = {key: Point(_legal(key), float(value), now, step) for key, value in values.items()}
            with self._lock:
                self._newest |= points

    def table(self, rows: Sequence[Mapping[str, object]], name: str = "videos") -> None:
        """Rows as one more CSV file in the artifact folder `name`; the names of the files sort by time."""
        # MLflow's own log_table reads and writes the whole table again each time: 10,000 rows by the hundred took 21 s,
        # as CSV parts 0.4 s (2 busy cores, local disk). Its pages show CSV as a table too.
        if rows:
            self.artifact(_csv(rows), f"{name}/{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.csv")

    def artifact(self, data: bytes | Path, place: str) -> None:
        """A file of the run. A Path is read when it is sent: it has to stay.

        Raises ValueError for a `place` that is not a path of plain names: stores disagree about all other characters.
        """
        plain = re.fullmatch(r"[\w.-]+(/[\w.-]+)*", place) is not None and not {".", ".."} & {*place.split("/")}
        rule = "it has to be a relative path of letters, digits, ., _, - and /, at most 250 bytes"
        require(plain and len(place.encode()) <= 250, "place", place, rule)
        size_bytes = len(data) if isinstance(data, bytes) else 0
        self._put(self._files, lambda run: run.file(data, place), size_bytes)

    def end(self, status: Status = "FINISHED") -> None:
        """Sends what waits and ends the run. Returns after 10 s at most; the second call does nothing."""
        if not self._open:
            return
        self._status = status
        self._ended.set()
        self._thread.join(END_S)
        lost = self._lost + len(self._points) + len(self._facts) + len(self._files)
        if lost or not self._told:
            told = "was" if self._told else "could not be"
            logger.warning("tracking: run %s %s ended as %s; %d values or files are lost", self.key, told, status, lost)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        self.end("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    @property
    def _open(self) -> bool:
        return self._begin is not None and not self._ended.is_set()

    def _texts(self, values: Mapping[str, object]) -> dict[str, str]:
        """Keys and values as MLflow takes them. What does not fit is also written whole, as an artifact."""
        texts = {_legal(key): _text(value) for key, value in values.items()}
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
        """The thread: one try per interval, and one more at the end."""
        while True:
            ended = self._ended.is_set()
            try:
                self._gather()
                self._deliver(ended)
            except Exception as error:  # the store is away: what waits goes on waiting
                if not self._away:
                    logger.warning("tracking fails for now, the job goes on: %s", _short(error))
                self._away = True
            else:
                if self._away:
                    logger.warning("tracking works again; %d values or files are lost", self._lost)
                self._away = False
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
        """Raises what the store raises. Files come last: their store is another one, which may be away alone."""
        assert self._begin is not None, "only an open tracker has a thread"
        self._run = self._run or self._begin()
        self._drain(self._facts, self._run)
        while batch := list(islice(self._points, MAX_POINTS_BATCH)):
            self._attempt(partial(MlflowRun.points, points=batch), self._run, len(batch))
            for _ in batch:
                self._points.popleft()
        if ended:
            self._told = self._attempt(partial(MlflowRun.end, status=self._status), self._run, 0)
        self._drain(self._files, self._run)

    def _drain(self, queue: deque[tuple[_Send, int]], run: MlflowRun) -> None:
        while queue:
            send, size_bytes = queue[0]
            self._attempt(send, run, 1)
            with self._lock:
                queue.popleft()
                self._held_bytes -= size_bytes

    def _attempt(self, send: _Send, run: MlflowRun, count: int) -> bool:
        """False when the store refuses what `send` brings, which is `count` values or files, for good."""
        try:
            send(run)
        except Exception as error:
            if not is_final(error):
                raise
            if not self._refused:
                logger.warning("tracking: MLflow refuses a value or file, the others go on: %s", _short(error))
            self._refused = True
            self._lost += count
            return False
        return True


def _origin(kind: Kind) -> dict[str, str]:
    """Where the results of this job come from: kind of job, versions of packages, git revision of the sources."""
    tags = {"kind": kind, "version.longtake": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"version.{package}"] = version(package)
    if (HOME / ".git").exists():  # not any repository further up, where an installed package may lie
        command = ["git", "-C", str(HOME), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
            tags["git"] = done.stdout.strip()
    return tags


def _short(error: Exception) -> str:
    return masked(next(iter(str(error).splitlines()), "") or type(error).__name__)[:400]


def _csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows({key: None if value is None else _text(value) for key, value in row.items()} for row in rows)
    return file.getvalue().encode()


def _legal(key: str) -> str:
    """MLflow refuses a whole batch for one character that it does not know."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:240]


def _text(value: object) -> str:
    """Without what a store cannot hold and would fail at again and again: NUL and halves of surrogate pairs."""
    return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))
