"""What a command is doing is reported at intervals, here by a fake clock."""

import sys
import threading
import time

import pytest

from longtake.pipelines.terminal import progress
from longtake.pipelines.terminal.progress import Progress, StatusLine, bar, counts, doing, duration


@pytest.fixture
def watch():
    """A progress with a clock of its own: `watch(seconds)` is what it shows until then, ticking every .25 s."""
    time, shown = [100.0], []
    progress = Progress(lambda status: shown.append(status.text), every_s=5, now=lambda: time[0])

    def until(seconds):
        shown.clear()
        while time[0] < 100 + seconds:
            time[0] += 0.25
            progress.tick()
        return list(shown)

    until.now = lambda: time[0]
    return until


@pytest.mark.report("B6", "A15")
def test_what_is_waited_for_is_said_from_the_first_second_on_every_five(watch):
    with doing("waiting for Ray", watch.now):
        assert watch(12) == [f"waiting for Ray, {seconds} s" for seconds in (1, 6, 11)]
    assert watch(60) == []


def test_a_new_activity_is_said_at_once_and_the_outer_one_again_after_it(watch):
    with doing("job", watch.now):
        assert watch(2) == ["job, 1 s"]
        with doing("waiting for the store", watch.now):
            assert watch(4) == ["waiting for the store, 1 s"]
        assert watch(5) == ["job, 4 s"]


@pytest.mark.report("A15")
def test_before_anything_else_it_is_starting():
    shown = []
    with Progress(lambda status: shown.append(status.text), now=lambda: 0.0) as progress:
        progress._now = lambda: 2.0
        progress.tick()
        with doing("waiting for Ray", lambda: 2.0):
            pass
        progress._now = lambda: 60.0
        progress.tick()
    assert shown == ["starting, 2 s"]


def test_what_is_over_at_once_is_not_said(watch):
    with doing("a moment", watch.now):
        assert watch(0.75) == []


def test_counts_are_those_of_the_moment(watch):
    rows = [3]
    with doing(lambda seconds: counts(rows[0], 10, "videos", seconds), watch.now):
        assert watch(1) == ["3/10 videos, 2 s left"]
        rows[0] = 9
        assert watch(6) == ["9/10 videos, 1 s left"]


@pytest.mark.report("B3")
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, None, "videos", 3), "0 videos"),
        ((0, 10, "videos", 3), "0/10 videos"),
        ((5, 10, "videos", 10, 0, "1 failed"), "5/10 videos, 1 failed, 10 s left"),
        ((955, 1000, "videos", 60, 955), "955/1000 videos"),  # nothing of this run: no speed
        ((965, 1000, "videos", 60, 955), "965/1000 videos, 4 min left"),
        ((10, 10, "videos", 60), "10/10 videos"),
    ],
)
def test_there_is_one_time_left_at_the_speed_of_this_run(given, text):
    assert counts(*given).text == text


def test_durations_are_read_at_a_glance():
    assert [duration(seconds) for seconds in (0.4, 89, 90, 3600, 7500)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "2 h 5 min",
    ]


def test_a_bar_is_as_long_as_the_share():
    assert bar(StatusLine("x", 0.5), 4) == "[##--] x"
    assert bar(StatusLine("x")) == "x"


@pytest.fixture
def hasty_threads():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_activities_of_many_threads_all_end():
    def work():
        for _ in range(500):
            with doing("waiting"):
                pass

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress._stack.top is None


def test_a_status_that_cannot_be_made_is_one_warning_and_the_next_one_is_shown(caplog):
    shown, broken = [], [True]

    def status(seconds):
        if broken[0]:
            raise OSError("half a line")
        return "12/40 videos"

    def wait_for(condition):
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.02)

    with Progress(lambda line: shown.append(line.text), every_s=0.1), doing(status):
        wait_for(lambda: caplog.messages)
        broken[0] = False
        wait_for(lambda: shown)
    assert shown[0] == "12/40 videos" and len(caplog.messages) == 1 and "half a line" in caplog.messages[0]
