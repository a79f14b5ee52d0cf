"""Finished rows of a job."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from longtake.pipelines.bulk.records import SAMPLE_BYTES, SAMPLES, Records, Tally
from longtake.pipelines.bulk.settings import load_bulk
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


def records(jobs, *overrides):
    conf = load_bulk(overrides=["prompts=p.txt", "out=o", *overrides])
    return Records(conf, jobs, Tally(), lambda *_: None)


def test_the_first_videos_that_are_small_enough_are_samples(jobs):
    job, small = records(jobs), make_row("a", 0)
    job.finished(replace(small, size_bytes=SAMPLE_BYTES + 1))
    for i in range(SAMPLES + 2):
        job.finished(replace(small, path=f"{i}.mp4", size_bytes=SAMPLE_BYTES))
    assert jobs == [("sample", (f"{i}.mp4", small.num_frames)) for i in range(SAMPLES)]


def test_nobody_looks_at_samples_where_nothing_is_tracked(jobs):
    records(jobs, "tracking.enabled=false").finished(make_row("a", 0))
    assert jobs == []


def test_a_shard_is_packed_when_all_of_its_rows_are_finished_and_the_last_one_at_the_end(jobs):
    job = records(jobs, "tracking.enabled=false", "format=webdataset", "shard_size=3")
    for ordinal in (4, 0, 2, 3):
        job.finished(make_row(f"v{ordinal}", ordinal))
    assert jobs == []
    job.skip(1)
    assert jobs == [("pack", (0, 3))]
    job.close()
    assert jobs == [("pack", (0, 3)), ("pack", (1, 3))]
