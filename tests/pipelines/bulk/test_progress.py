"""A job in words while it runs and at its end."""

import pytest

from longtake.pipelines.bulk import progress as bulk_progress
from longtake.pipelines.bulk.progress import BulkProgress, exit_code, status, stopped, summary
from longtake.pipelines.bulk.records import Tally


@pytest.mark.report("B3")
def test_a_line_says_how_far_the_job_is_and_one_time_left():
    tally = Tally(total=10, skipped=1, failed_before=1, done=3, failed=1, chunks=9, windows=5, frames=240, in_flight=2)
    text = status(tally, 120.0, left_s=120.0).text
    assert text == "6/10 videos, 1 failed, 2 in progress, 9 chunks, 5 windows, 2.00 frames/s, 2 min left"
    assert status(tally, 120.0).share == 0.6


@pytest.mark.report("B3")
def test_the_total_is_known_before_the_first_video():
    assert status(Tally(total=1000), 0.0).text.startswith("0/1000 videos, 0 failed")


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setattr(bulk_progress, "RayMetrics", lambda *_: type("Metrics", (), {"show": lambda *_: None})())


@pytest.mark.report("B3")
@pytest.mark.parametrize("in_flight", [1, 4])
def test_the_time_left_is_steady_from_the_second_window_on(without_ray, in_flight):
    """Four videos of 80 frames in 40 cells of 3 s; the first chunks take 30 s. Those in flight end together."""
    now, tally = [0.0], Tally(total=4, frames_left=320.0)
    progress = BulkProgress(tally, lambda: now[0])
    now[0] = 30.0
    progress.show()
    assert "left" not in progress.status(30.0).text, "nothing tells yet what a window takes"
    for cell in range(1, 161):
        now[0] += 3.0
        tally.frames_left -= 2.0
        tally.done = cell // (40 * in_flight) * in_flight
        progress.show(3.0)
        real = 3.0 * (160 - cell)
        assert progress.left_s == (None if cell == 160 else pytest.approx(real))
        assert cell == 160 or progress.status(now[0]).text.endswith(f", {bulk_progress.duration(real)} left")


@pytest.mark.report("B3")
def test_rows_that_cost_no_time_say_nothing_about_the_time_left(without_ray):
    now, tally = [0.0], Tally(total=101, frames_left=8080.0)
    progress = BulkProgress(tally, lambda: now[0])
    now[0], tally.failed, tally.frames_left = 1.0, 100, 80.0  # their prompts were too long
    progress.show()
    now[0], tally.frames_left = 20.0, 78.0
    progress.show(10.0)
    assert progress.left_s == 10.0 * 78 / 2


@pytest.mark.report("B6")
def test_a_job_in_which_nothing_moves_says_so(without_ray):
    now = [0.0]
    progress = BulkProgress(Tally(total=4), lambda: now[0])
    now[0] = 29.0
    assert "nothing" not in progress.status(29.0).text
    now[0] = 100.0
    assert "nothing has finished for 2 min" in progress.status(100.0).text
    progress.show()
    assert "nothing" not in progress.status(101.0).text


@pytest.mark.report("B2")
@pytest.mark.parametrize(
    ("tally", "text", "code"),
    [
        (Tally(total=6, done=6), "6 videos made, 0 failed, 0 already finished", 0),
        (Tally(total=2, failed=2), "0 videos made, 2 failed, 0 already finished; retry_failed=true tries", 3),
        (Tally(total=2, failed_before=2), "0 failed, 2 failed in an earlier run, 0 already finished; retry_failed=", 3),
        (
            Tally(total=9, skipped=9, outdated=3),
            "9 already finished, 3 kept although their rows changed or are gone, or their files",
            0,
        ),
        (Tally(total=3, done=3, flagged=1, unknown=2), "1 breaks a quality limit, 2 with words that the bundle", 0),
    ],
)
def test_the_end_counts_every_row_and_hides_no_failure(tally, text, code):
    line = summary("/data/out", tally)
    assert line.startswith("/data/out: ") and text in line
    assert exit_code(tally) == code


@pytest.mark.report("B2")
def test_a_job_that_is_stopped_does_not_count_failed_rows_as_videos():
    text = stopped("/data/out", Tally(total=9, skipped=2, failed_before=1, done=1, failed=2))
    assert text == "out=/data/out: 3 of 9 videos are finished, 3 rows failed; run the same command again"
    assert "failed" not in stopped("/data/out", Tally(total=9, done=1))


@pytest.mark.xdist_group("ray")
def test_what_is_counted_goes_to_ray_once(ray_cluster, monkeypatch):
    from longtake.pipelines.runners import ray_metrics

    counted = []
    monkeypatch.setattr(ray_metrics.Counter, "inc", lambda self, value: counted.append((self.info["name"], value)))
    tally = Tally()
    progress = BulkProgress(tally)
    for tally.done in (2, 2, 5):
        progress.show()
    assert counted == [("longtake_done_total", 2), ("longtake_done_total", 3)]
