"""Calls from other threads, without an engine."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from longtake.pipelines.serve.engine.call_queue import CallQueue, NotYet


@pytest.fixture
def calls():
    return CallQueue(lambda: None)


def test_calls_run_in_the_owners_thread_and_their_outcome_goes_to_the_caller(calls):
    def broken():
        raise TimeoutError("mine")

    with ThreadPoolExecutor(2) as others:
        thread, error = others.submit(calls.ask, threading.current_thread), others.submit(calls.ask, broken)
        while not (thread.done() and error.done()):
            calls.run(wait_s=0.01)
        assert thread.result() is threading.current_thread()
        with pytest.raises(TimeoutError, match="mine"):
            error.result()


def test_a_call_that_cannot_run_yet_runs_again_at_the_next_turn(calls):
    turns = []

    def twice():
        turns.append(len(turns))
        if len(turns) < 2:
            raise NotYet
        return "done"

    with ThreadPoolExecutor(1) as others:
        answer = others.submit(calls.ask, twice)
        while not turns:
            calls.run(wait_s=0)
        assert turns == [0] and not answer.done()
        calls.run(wait_s=0)
        assert answer.result(5) == "done"


def test_who_asks_after_the_end_gets_the_reason_also_when_the_call_was_never_run():
    is_open = True

    def check():
        if not is_open:
            raise RuntimeError("closed")

    calls = CallQueue(check)
    with ThreadPoolExecutor(1) as others:
        answer = others.submit(calls.ask, lambda: "never")
        while calls._calls.empty():
            pass
        is_open = False
        with pytest.raises(RuntimeError, match="closed"):
            answer.result(5)
    with pytest.raises(RuntimeError, match="closed"):
        calls.ask(lambda: "never")
