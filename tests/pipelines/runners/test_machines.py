"""Machines that come and go."""

import threading

import pytest

from longtake.pipelines.runners import machines
from longtake.pipelines.runners.machines import changes, watched_machines


def watchers():
    """Threads that watch: the endpoint of the page's tests has one up to the end of the session."""
    return {thread for thread in threading.enumerate() if thread.name == "machines"}


@pytest.mark.report("B6")
def test_each_machine_that_went_or_came_is_a_line():
    lines = changes(
        {"1": "alpha (10.0.0.1)", "2": "beta (10.0.0.2)"}, {"2": "beta (10.0.0.2)", "3": "gamma (10.0.0.3)"}
    )
    assert lines == [
        "machine alpha (10.0.0.1) left the cluster: its calls are retried elsewhere",
        "machine gamma (10.0.0.3) joined the cluster",
    ]
    assert changes({"1": "a"}, {"1": "a"}) == []


def test_a_cluster_that_does_not_answer_is_one_line_and_nothing_is_asked_after_the_end(monkeypatch, caplog):
    asked, others, living = threading.Semaphore(0), watchers(), machines._living

    def no_answer():
        if threading.current_thread() in others:
            return living()
        asked.release()
        raise RuntimeError("no answer")

    monkeypatch.setattr(machines, "_living", no_answer)
    monkeypatch.setattr(machines, "LOOK_S", 0.01)
    with watched_machines():
        [own] = watchers() - others
        assert all(asked.acquire(timeout=20) for _ in range(3))
    lines = [record.message for record in caplog.records if record.name == machines.logger.name]  # Ray has its own
    assert lines == ["the machines of the cluster are unknown for now: no answer"]
    assert not own.is_alive() and not watchers() - others
