"""Finished rows of a job."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from longtake.pipelines.bulk.records import SAMPLE_BYTES, SAMPLES, Records, Tally, tally_of
from longtake.pipelines.bulk.resume import resume
from longtake.pipelines.bulk.settings import Changed, load_bulk
from longtake.pipelines.datasets.finished import Finished, digests_of
from longtake.pipelines.datasets.manifest import VideoRow


def make_row(name, ordinal):
    row = {"id": name, "status": "done", "source": f"p.txt:{ordinal + 1}", "ordinal": ordinal, "num_frames": 80}
    return VideoRow(**row, path=f"{name}.mp4", size_bytes=1000, finished_at=datetime(2026, 9, 1, tzinfo=UTC))


class Jobs(list):
    """The queued jobs."""

    def put(self, job):
        self.append((job.method, job.args))


@pytest.fixture
def jobs():
    return Jobs()


def records(jobs, *overrides, shards=()):
    conf = load_bulk(overrides=["prompts=p.txt", "out=o", *overrides])
    return Records(conf, jobs, Tally(), Counter(dict(shards)), lambda *_: None)


def test_the_first_videos_that_are_small_enough_are_samples(jobs):
    job, small = records(jobs), make_row("a", 0)
    job.finished(replace(small, size_bytes=SAMPLE_BYTES + 1))
    for i in range(SAMPLES + 2):
        job.finished(replace(small, path=f"{i}.mp4", size_bytes=SAMPLE_BYTES))
    assert jobs == [("sample", (f"{i}.mp4", small.num_frames)) for i in range(SAMPLES)]


def test_nobody_looks_at_samples_where_nothing_is_tracked(jobs):
    records(jobs, "tracking.enabled=false").finished(make_row("a", 0))
    assert jobs == []


def test_a_shard_is_packed_when_all_its_rows_are_finished_and_one_that_was_left_at_the_end(jobs):
    shards = {0: 2, 1: 1, 7: 0}  # one row of shard 0 is finished already, and all of shard 7
    job = records(jobs, "tracking.enabled=false", "format=webdataset", "shard_size=3", shards=shards.items())
    job.finished(make_row("v0", 0))
    assert jobs == []
    job.finished(make_row("v4", 4))
    job.finished(make_row("v2", 2))
    assert jobs == [("pack", (1, 3)), ("pack", (0, 3))]
    job.close()
    assert jobs[2:] == [("pack", (7, 3))]


@pytest.mark.report("B13")
def test_videos_with_unknown_words_are_counted(jobs):
    job = records(jobs)
    for ordinal, words in enumerate((None, "dog", "dog cat")):
        job.finished(replace(make_row(f"v{ordinal}", ordinal), unknown_words=words))
    assert job._tally.unknown == 2


@pytest.mark.report("B2")
def test_what_failed_before_counts_as_failed_before():
    columns = (digests_of(["a", "b", "c"]), digests_of("xyz"), np.arange(3), np.array([False, True, False]))
    found = resume(
        Finished([columns]), digests_of(["a", "b", "d"]), digests_of("xyw"), Changed.KEEP, retry_failed=False
    )
    tally = tally_of(found, np.array([8, 16, 24]))
    assert (tally.total, tally.skipped, tally.failed_before, tally.outdated, tally.finished) == (3, 1, 1, 1, 2)
    assert tally.frames_left == 24
