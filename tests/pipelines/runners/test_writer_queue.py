"""Writer jobs on real actors: done, dropped, repeated and given up."""

import os
import signal
import time
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayError

from longtake.actors.calls import Calls, Fate
from longtake.pipelines.config.cluster import ClusterParams, PoolParams
from longtake.pipelines.runners.ray_cluster import pools
from longtake.pipelines.runners.writer_queue import WriterJob, WriterQueue

pytestmark = pytest.mark.xdist_group("ray")


class Clerk:
    """A writer."""

    def warm_up(self): ...

    def note(self, path, word):
        """Appends a word to a file."""
        with open(path, "a") as file:
            file.write(word + " ")
        return len(word), word.upper()

    def refuse(self, word):
        raise ValueError(f"word={word}: not today")

    def die(self, path, word, times):
        """Dies the first `times` times."""
        self.note(path, word)
        if Path(path).read_text().count(word) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return word, None

    def wait_for(self, path):
        while not os.path.exists(path):
            time.sleep(0.02)
        return path, None


class Owner:
    def make(self):
        return [ray.put(b"x" * 1_000_000)]


@pytest.fixture(scope="module")
def office(ray_cluster):
    """One writer, and the calls that it makes."""
    params = ClusterParams(writer=PoolParams(num_actors=1, num_cpus=1))
    with pools(params, {"writer": Clerk}) as made:
        yield made["writer"], Calls(list(made.values()), timeout_s=60, patience_s=120)


@pytest.fixture
def jobs(office):
    jobs = WriterQueue(*office, max_attempts=3)
    yield jobs
    assert not jobs.busy, "a test left something behind"


def run_all(jobs, office):
    """All results, in order."""
    ended = []
    while jobs.busy:
        jobs.hand_out()
        ended += [jobs.take_in(outcome) for outcome in office[1].wait(0.2)]
    return ended


def until_one_runs(jobs, office):
    while not office[1].running(office[0]):
        jobs.hand_out()
        office[1].wait(0.05)  # an actor that died may be coming back


def test_errands_are_done_in_order_and_come_back_with_what_they_returned(jobs, office, tmp_path):
    for word in ("one", "two", "three"):
        jobs.put(WriterJob("note", (tmp_path / "notes", word), subject=("note", word)))
    assert jobs.num_waiting("note") == 3 and jobs.num_waiting("refuse") == 0
    ended = run_all(jobs, office)
    assert (tmp_path / "notes").read_text() == "one two three "
    assert [(one.fate, one.wanted, one.job.subject) for one in ended] == [
        (Fate.DONE, True, ("note", word)) for word in ("one", "two", "three")
    ]
    assert ray.get([ended[2].carry, ended[2].output]) == [5, "THREE"]
    assert ended[0].receipt.seconds >= 0 and jobs.num_waiting("note") == 0


def test_one_that_raises_comes_back_with_the_reason_and_the_next_one_is_done(jobs, office, tmp_path):
    jobs.put(WriterJob("refuse", ("a",), "v"))
    jobs.put(WriterJob("note", (tmp_path / "notes", "b"), "v"))
    refused, done = run_all(jobs, office)
    assert (refused.fate, refused.wanted, refused.why) == (Fate.RAISED, True, "word=a: not today")
    assert done.fate is Fate.DONE


def test_one_that_is_lost_is_made_again_before_all_others(jobs, office, tmp_path):
    jobs.put(WriterJob("die", (tmp_path / "notes", "x", 2)))
    jobs.put(WriterJob("note", (tmp_path / "notes", "y")))
    ended = run_all(jobs, office)
    assert [one.fate for one in ended] == [Fate.LOST, Fate.LOST, Fate.DONE, Fate.DONE]
    assert (tmp_path / "notes").read_text() == "x x x y "
    assert [one.job.attempts for one in ended] == [0, 1, 2, 0]


def test_one_that_is_always_lost_counts_as_raised_after_max_attempts(jobs, office, tmp_path):
    jobs.put(WriterJob("die", (tmp_path / "notes", "x", 99)))
    ended = run_all(jobs, office)
    assert [one.fate for one in ended] == [Fate.LOST, Fate.LOST, Fate.RAISED]
    assert "a writer's call die was tried 3 times: " in ended[-1].why


def test_of_a_video_that_is_dropped_nothing_waits_and_what_runs_is_not_wanted(jobs, office, tmp_path):
    jobs.put(WriterJob("wait_for", (str(tmp_path / "go"),), "gone"))
    until_one_runs(jobs, office)
    for video_id, word in (("gone", "a"), ("stays", "b"), ("", "c")):
        jobs.put(WriterJob("note", (tmp_path / "notes", word), video_id))
    jobs.drop("gone")
    jobs.put(WriterJob("note", (tmp_path / "notes", "d"), "gone"))  # it restarted
    assert jobs.num_waiting("note") == 3 and jobs.busy
    (tmp_path / "go").touch()
    ended = run_all(jobs, office)
    assert [(one.job.video_id, one.wanted) for one in ended] == [
        ("gone", False),
        ("stays", True),
        ("", True),
        ("gone", True),
    ]
    assert (tmp_path / "notes").read_text() == "b c d "


def test_one_that_nobody_wants_is_not_made_again_when_it_is_lost(jobs, office, tmp_path):
    jobs.put(WriterJob("wait_for", (str(tmp_path / "never"),), "gone"))
    until_one_runs(jobs, office)
    jobs.drop("gone")
    ray.kill(office[0].actors[0], no_restart=False)
    assert [(one.fate, one.wanted) for one in run_all(jobs, office)] == [(Fate.LOST, False)]


def test_one_whose_argument_died_is_missing_and_not_made_again(jobs, office, tmp_path):
    owner = ray.remote(Owner).remote()
    (lost,) = ray.get(owner.make.remote())
    ray.kill(owner)  # its objects die with it, as those of a machine do
    with pytest.raises(RayError):
        for _ in range(600):  # it takes a moment
            ray.get(lost, timeout=10)
            time.sleep(0.1)
    jobs.put(WriterJob("note", (f"{tmp_path}/never", lost), "v"))
    (ended,) = run_all(jobs, office)
    assert (ended.fate, ended.wanted) == (Fate.MISSING, True)
