"""Finished rows of a bulk job: they are counted, recorded, packed into shards, and some become samples."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from longtake.pipelines.bulk.resume import Resumption
from longtake.pipelines.bulk.settings import BulkConf, Format
from longtake.pipelines.datasets.manifest import VideoRow
from longtake.pipelines.runners.writer_queue import JobResult, WriterJob, WriterQueue

logger = logging.getLogger(__name__)
COMPACT_ROWS = 500
SAMPLES = 4  # videos for the tracking server
SAMPLE_BYTES = 32 << 20  # at most, each: they pass through the driver, whose memory must not grow with the resolution


@dataclass(slots=True)
class Tally:
    """Counts of a job."""

    total: int = 0  # rows of the prompts
    skipped: int = 0  # videos finished by an earlier run
    failed_before: int = 0  # rows that failed in an earlier run
    outdated: int = 0  # finished videos that are kept although their rows changed or are gone, or their files
    done: int = 0
    failed: int = 0
    rejected: int = 0  # seeds whose video was stopped for its quality
    flagged: int = 0  # done, but breaking a limit
    unknown: int = 0  # done, with words that the bundle does not know
    chunks: int = 0
    windows: int = 0
    frames: int = 0  # of finished videos
    frames_left: float = (
        0.0  # of the videos of this run; those in progress count by the share of their cells that is left
    )
    in_flight: int = 0
    waiting_frames: int = 0
    waiting_segments: int = 0

    @property
    def finished(self) -> int:
        return self.skipped + self.failed_before + self.done + self.failed


def tally_of(found: Resumption, num_frames: NDArray[np.int64]) -> Tally:
    """The counts before any row is made; `num_frames` is the length of each, 0 of an invalid one."""
    is_kept, is_failed = int(np.count_nonzero(found.is_kept)), int(np.count_nonzero(found.is_failed))
    outdated = int(np.count_nonzero(found.is_outdated & ~found.forgotten))
    left = float(num_frames[~found.is_kept].sum())
    return Tally(len(found.is_kept), is_kept - is_failed, is_failed, outdated, frames_left=left)


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished video for people to look at, and its contact sheet (PNG)."""

    path: str
    video: bytes
    sheet: bytes


Observe = Callable[[Tally, Any], None]


class Records:
    """Queues the jobs that follow from finished rows, and counts the rows in `tally`."""

    def __init__(self, conf: BulkConf, jobs: WriterQueue, tally: Tally, shards: Counter[int], observe: Observe) -> None:
        """`shards` has the number of rows that each shard waits for. `observe` is called for every VideoRow that is
        finished and every Sample."""
        self._jobs, self._tally, self._observe = jobs, tally, observe
        self._shard_size = conf.shard_size if conf.format is Format.WEBDATASET else None
        self._shards = shards
        self._num_loose = 0  # records since the last compaction
        self._samples = SAMPLES if conf.tracking.enabled else 0  # still wanted

    def fail(self, row: VideoRow) -> None:
        """Records a video that failed."""
        logger.warning("video failed id=%s source=%s reason=%s", row.id, row.source, row.reason)
        self._jobs.put(WriterJob("record", (row,)))

    def finished(self, row: VideoRow) -> None:
        """Counts a video that is committed, or whose failure is recorded."""
        self._tally.done += row.status == "done"
        self._tally.failed += row.status == "failed"
        self._tally.flagged += row.flagged is not None
        self._tally.unknown += row.status == "done" and row.unknown_words is not None
        self._tally.frames += (row.num_frames or 0) if row.status == "done" else 0
        self._take_sample(row)  # before its shard is packed, which removes the file
        self._count_shard(row.ordinal)
        self._num_loose += 1
        if self._num_loose >= COMPACT_ROWS:
            self._num_loose = 0
            self._jobs.put(WriterJob("compact", (COMPACT_ROWS,)))
        self._observe(self._tally, row)

    def sampled(self, result: JobResult) -> None:
        with suppress(RayError):  # lost with a machine: one sample fewer
            video, sheet = ray.get([result.carry, result.output])
            self._observe(self._tally, Sample(result.job.args[0], video, sheet))

    def close(self) -> None:
        """After the last row: packs the shards that an interrupted run left."""
        for shard in self._shards:
            self._jobs.put(WriterJob("pack", (shard, self._shard_size)))
        self._shards.clear()

    def _take_sample(self, row: VideoRow) -> None:
        if row.path is not None and self._samples and (row.size_bytes or 0) <= SAMPLE_BYTES:
            self._samples -= 1
            self._jobs.put(WriterJob("sample", (row.path, row.num_frames)))

    def _count_shard(self, ordinal: int) -> None:
        if self._shard_size is None:
            return
        shard = ordinal // self._shard_size
        self._shards[shard] -= 1
        if self._shards[shard] == 0:
            del self._shards[shard]
            self._jobs.put(WriterJob("pack", (shard, self._shard_size)))
