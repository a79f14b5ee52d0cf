"""Calls from any thread that run in one, turn by turn."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a call that has to run again at the next turn."""


class CallQueue:
    """The owner's thread calls `run`, others `ask` and `post`."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        """`check_open` raises for those who ask when calls no longer run."""
        self._check_open = check_open
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, call: Callable[[], None]) -> None:
        """Adds a call without waiting for it."""
        self._calls.put(call)

    def ask(self, call: Callable[[], T]) -> T:
        """The result of `call`, or the exception that it raised."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(call())
            except NotYet:
                self._calls.put(run)
            except Exception as error:
                answer.set_exception(error)

        self._check_open()
        self._calls.put(run)
        while not answer.done():
            try:
                return answer.result(1.0)
            except TimeoutError:  # the owner may have ended without running it
                if not answer.done():
                    self._check_open()
        return answer.result()

    def run(self, wait_s: float) -> None:
        """Runs the calls that wait, each once; if there are none, the first within `wait_s`."""
        try:
            if wait_s:
                self._calls.get(timeout=wait_s)()
            for _ in range(self._calls.qsize()):  # one that is put back waits for the next turn
                self._calls.get_nowait()()
        except queue.Empty:
            pass
