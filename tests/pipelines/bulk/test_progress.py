import logging
import re

import pytest

from longtake.pipelines.bulk import progress as bulk_progress
from longtake.pipelines.bulk.progress import BulkProgress
from longtake.pipelines.bulk.records import Tally
from longtake.pipelines.runners import ray_metrics

pytestmark = pytest.mark.xdist_group("ray")


def test_a_line_says_how_far_the_job_is_and_how_long_it_takes(ray_cluster):
    with BulkProgress() as progress:
        line = progress.line(Tally(total=10, skipped=2, done=3, failed=1, chunks=9, windows=5, frames=240, in_flight=2))
        assert line.startswith("6/10 videos, 1 failed, 2 in progress, 9 chunks, 5 windows, queue 0 frames")
        assert re.search(r"[\d.]+ frames/s, \d+ s left$", line)
        assert "0/0 videos" in progress.line(Tally()) and progress.line(Tally()).endswith("? left")


def test_without_a_terminal_it_is_a_log_line_now_and_then(ray_cluster, monkeypatch, caplog):
    monkeypatch.setattr(bulk_progress, "LOG_S", 0.0)
    with caplog.at_level(logging.INFO), BulkProgress() as progress:
        progress.show(Tally(total=4, done=1, frames=80))
    assert "1/4 videos" in caplog.text


def test_what_is_counted_goes_to_ray_once(ray_cluster, monkeypatch):
    counted = []
    monkeypatch.setattr(ray_metrics.Counter, "inc", lambda self, value: counted.append((self.info["name"], value)))
    with BulkProgress() as progress:
        for done in (2, 2, 5):
            progress.show(Tally(done=done))
    assert counted == [("longtake_done_total", 2), ("longtake_done_total", 3)]
