"""The command `longtake bulk`: prompts in, mp4 files and a parquet manifest out; a restart resumes.

    out/job.json       the settings; a resumed job must have the same
    out/videos/...     finished videos, each whole or absent
    out/manifest/      parquet, one row per video, failed ones included

Kill it at any moment and run the same command again: finished videos stay, the others are made, with the same bytes.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from longtake.actors.pool import Pool
from longtake.models.domain.scheduler import StageName
from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.checks import PreparedJob, check_same
from longtake.pipelines.bulk.folder import DATA_FILES, finish, forget, unpacked
from longtake.pipelines.bulk.job import BulkJob
from longtake.pipelines.bulk.paths import CHUNKS, SETTINGS
from longtake.pipelines.bulk.progress import BulkProgress, stopped
from longtake.pipelines.bulk.records import Sample, Tally, tally_of
from longtake.pipelines.bulk.resume import Resumption
from longtake.pipelines.bulk.rows import Rows
from longtake.pipelines.bulk.settings import BulkConf, Changed, job_settings
from longtake.pipelines.bulk.survey import Survey
from longtake.pipelines.bulk.writer import BulkWriter
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.datasets.layouts import write_card
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.files.folder_lock import FolderLock, exclusive
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.runners.ray_cluster import Factories, connect, pools
from longtake.pipelines.runners.ray_runner import TaskDone
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.progress import counts, doing
from longtake.pipelines.terminal.signals import Received, Stopped, noted_signals
from longtake.pipelines.tracking.job_run import job_run
from longtake.pipelines.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
NOTHING_YET = "no video was started"
TABLE_ROWS = 200  # in a part of the tracked table


def run(prepared: PreparedJob, factories: Factories | None = None) -> Tally:
    """Runs the job until its end or a signal. In tests `factories` replace the bundle's stages.

    Raises Stopped after SIGTERM or Ctrl-C, RuntimeError when it cannot go on. Finished videos stay in either case.
    """
    conf, store, bundle_sha256 = prepared.conf, prepared.store, prepared.bundle_sha256
    logger.info("out=%s", store)  # in full: a relative path depends on the machine where this runs
    if note := limits_of(conf).fit_note(conf):
        logger.warning("the base model's %s", note)
    with exclusive(store) as lock, noted_signals(NOTHING_YET) as received:
        manifest, checker = Manifest(store), RowChecker(conf, bundle_sha256)
        survey = Survey(conf, checker, manifest)
        store.sweep()
        found = _look(prepared, survey)
        tally, shards = tally_of(found, survey.num_frames), unpacked(manifest, conf, found)
        if tally.finished == tally.total:
            logger.info("nothing to make: each of the %d rows is finished", tally.total)
            forget(manifest, found)
            finish(manifest, conf, shards)
            return tally
        rows = Rows(checker, survey, found)
        with _started(prepared, rows, factories, received) as (ready, tracker):
            forget(manifest, found)  # only once there are actors to make the videos again
            progress = BulkProgress(tally)
            observe = _Observer(progress, tracker)
            job = BulkJob(conf, ready, rows, tally, shards, set(store.list(CHUNKS)), observe)
            try:
                received.can_drain = True
                with doing(progress.status):
                    job.run(lambda: _stopping(store, lock, received))
            finally:
                rows.close()
                observe.flush()
            if received.number is not None:
                raise Stopped(stopped(str(store), tally), received.number)
        write_card(store, manifest, DATA_FILES[conf.format])
    return tally


@contextmanager
def _started(
    prepared: PreparedJob, rows: Rows, factories: Factories | None, received: Received
) -> Iterator[tuple[dict[str, Pool], Tracker]]:
    """The actors and the MLflow run of a job; the first rows are read meanwhile."""
    from longtake.pipelines.runners.stages import stage_factories  # imports torch, which a finished job does not need

    conf, store = prepared.conf, prepared.store
    factories = {**(factories or stage_factories(conf)), "writer": partial(BulkWriter, store, conf.in_flight)}
    received.check(NOTHING_YET)
    connect(conf.ray)
    received.check(NOTHING_YET)
    rows.start()
    with _tracked(conf, store, prepared.bundle_sha256) as tracker, pools(conf.ray, factories) as ready:
        yield ready, tracker


def _look(prepared: PreparedJob, survey: Survey) -> Resumption:
    """Reads all prompts and says what is left to make. Raises Refused if nothing can be made, or for changed rows."""
    try:
        check_same(prepared)  # again: another job may have run here since
        with doing(lambda seconds: counts(survey.num_rows, None, "rows", seconds, notes="reading the prompts")):
            found = survey.read()
    except ValueError as error:
        raise Refused(str(error)) from error
    if survey.unused:
        logger.warning("prompts=%s: columns not used: %s", prepared.conf.prompts, survey.unused)
    if survey.invalid.num:
        logger.warning("%s", survey.invalid.counted)
    if len(found.outdated):
        fate = "stay as they are" if prepared.conf.changed is Changed.KEEP else "are made again or deleted"
        logger.warning("%s; they %s (changed=%s)", survey.outdated(found), fate, prepared.conf.changed.value)
    return found


class _Observer:
    """Reports the progress to the terminal, Ray and the tracking server."""

    def __init__(self, progress: BulkProgress, tracker: Tracker) -> None:
        self._progress, self._tracker = progress, tracker
        self._rows: list[dict[str, object]] = []  # not in the tracked table yet

    def __call__(self, tally: Tally, event: object) -> None:
        if isinstance(event, TaskDone) and event.task.stage is StageName.REFINE:
            self._progress.show(event.seconds)
        else:
            self._progress.show()
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
    """The job's MLflow run; a resumed job continues the earlier one."""
    also = {"settings": job_settings(conf, bundle_sha256)}
    with job_run(conf.tracking, store, SETTINGS, "bulk", flatten(conf), also) as tracker:
        tracker.origin({"bundle_sha256": bundle_sha256, "out": conf.out})
        yield tracker


def _stopping(store: Store, lock: FolderLock, received: Received) -> bool:
    """Whether to shut down cleanly. Raises RuntimeError when the folder is lost."""
    if lock.lost:
        raise RuntimeError(f"out={store}: another job took over the folder, as this one stopped renewing its lease")
    return received.number is not None
