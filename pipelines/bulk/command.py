"""Prompts in, mp4 files and a parquet manifest out; restart is resume.

    out/job.json       with which settings; a resumed job has to have the same
    out/videos/...     finished videos, each whole or not there
    out/manifest/      parquet, one row a video, failed ones included

Kill it at any moment and give the same command: what is finished stays, the rest is made, and comes out the same.
"""

import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from longtake.pipelines.bulk.archive import CHECKPOINTS, ArchiveFactory
from longtake.pipelines.bulk.job import BulkJob
from longtake.pipelines.bulk.progress import BulkProgress
from longtake.pipelines.bulk.records import Sample, Tally
from longtake.pipelines.bulk.rows import Rows
from longtake.pipelines.bulk.settings import BulkConf, differences, hash_of, job_settings
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.datasets.prompt_files import find_files
from longtake.pipelines.files.folder_lock import Hold, alone
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.runners.ray_cluster import Factories, connect, pools
from longtake.pipelines.runners.stages import bundle_path, stage_factories
from longtake.pipelines.tracking.job_run import job_run
from longtake.pipelines.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
TABLE_ROWS = 200  # of a part of the tracked table


class Stopped(KeyboardInterrupt):
    """The job was told to stop by a signal, and has committed what was whole."""

    def __init__(self, text: str, signal_number: int) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal_number


def check(conf: BulkConf) -> tuple[Store, str]:
    """Finds what is wrong before anything is started; the place for the output, and the bundle's hash.

    Raises ValueError naming field, value and rule, also when `out` holds a job with other settings.
    """
    bundle_sha256 = hash_of(bundle_path(conf.bundle))
    limits_of(conf).check(conf)
    find_files(conf.prompts)
    store = Store(conf.out)
    store.check("out")
    _check_same(conf, store, bundle_sha256)
    return store, bundle_sha256


def _check_same(conf: BulkConf, store: Store, bundle_sha256: str) -> None:
    if not store.exists("job.json"):
        return
    before = json.loads(store.get("job.json"))
    changed = differences(before["settings"], json.loads(json.dumps(job_settings(conf, bundle_sha256))))
    if changed:
        raise ValueError(
            f"out={conf.out} holds a job that was begun with other settings: {'; '.join(changed)}. "
            "Take these, or another out"
        )


def run(conf: BulkConf, store: Store, bundle_sha256: str, factories: Factories | None = None) -> Tally:
    """Runs the job to its end, or to where it is stopped. `factories` stand in for the bundle's stages in tests.

    Raises Stopped after SIGTERM or Ctrl-C, RuntimeError when it cannot go on; what is finished stays in either case.
    """
    made = factories or stage_factories(conf)
    with alone(store) as hold, _asked_to_stop() as asked:
        _check_same(conf, store, bundle_sha256)  # again: another job may have begun and ended here since
        manifest = Manifest(store)
        store.sweep()
        rows = Rows(conf, manifest.done(retry_failed=conf.retry_failed))
        connect(conf.ray)
        rows.start()
        with (
            _tracked(conf, store, bundle_sha256) as tracker,
            pools(conf.ray, {**made, "writer": ArchiveFactory(store, conf.thumbnails)}) as ready,
            BulkProgress() as progress,
        ):
            observe = _Observer(progress, tracker)
            job = BulkJob(conf, bundle_sha256, ready, rows, set(store.list(CHECKPOINTS)), observe)
            try:
                asked.politely = True
                job.run(lambda: _stopping(store, hold, asked))
            finally:
                rows.close()
                observe.flush()
                logger.info("%s", progress.line(job.tally))
            if asked.by is not None:
                text = f"{job.tally.finished} videos are finished; the same command goes on from there"
                raise Stopped(text, asked.by)
    return job.tally


class _Observer:
    """Tells the terminal, Ray and the tracking server how the job goes."""

    def __init__(self, progress: BulkProgress, tracker: Tracker) -> None:
        self._progress, self._tracker = progress, tracker
        self._rows: list[dict[str, object]] = []  # finished since the last part of the table

    def __call__(self, tally: Tally, event: object) -> None:
        self._progress.show(tally)
        self._tracker.metrics({name: value for name, value in asdict(tally).items() if value is not None})
        if isinstance(event, VideoRow):
            self._rows.append(asdict(event))
            if len(self._rows) >= TABLE_ROWS:
                self.flush()
        if isinstance(event, Sample):
            name = event.path.rpartition("/")[2].replace("#", "-")
            self._tracker.artifact(event.video, f"samples/{name}")
            self._tracker.artifact(event.sheet, f"samples/{name.removesuffix('.mp4')}.png")

    def flush(self) -> None:
        self._tracker.table(self._rows)
        self._rows = []


@contextmanager
def _tracked(conf: BulkConf, store: Store, bundle_sha256: str) -> Iterator[Tracker]:
    """The job's MLflow run, which an earlier attempt may have begun."""
    also = {"settings": job_settings(conf, bundle_sha256)}
    with job_run(conf.tracking, store, "job.json", "bulk", flatten(conf), also) as tracker:
        tracker.origin({"bundle_sha256": bundle_sha256, "out": conf.out})
        yield tracker


@dataclass(slots=True)
class _Asked:
    """Whether SIGTERM (`ray job stop`) or Ctrl-C has come."""

    by: int | None = None  # the signal
    politely: bool = False  # there is work that can be ended in order; before, a signal ends the job at once


def _stopping(store: Store, hold: Hold, asked: _Asked) -> bool:
    """Whether to end in order. Raises RuntimeError when nothing may be written any more."""
    if hold.lost:
        raise RuntimeError(f"out={store}: another job has taken the folder over, as this one seemed to be dead")
    return asked.by is not None


@contextmanager
def _asked_to_stop() -> Iterator[_Asked]:
    """Hears the first signal; a second one ends the process as it would anyway."""
    asked = _Asked()
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        asked.by = number
        signal.signal(number, before[number])
        if not asked.politely:
            raise Stopped("nothing was begun", number)

    if threading.current_thread() is threading.main_thread():
        before = {int(number): signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
