"""SIGTERM and SIGINT: each ends a command with one line and its own exit code, whatever runs at that moment."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGTERM, signal.SIGINT)
IMPORT_S = 30.0
_postponed_s: dict[int, float] = {}  # when each signal that waits for the end of an import first came


class Stopped(KeyboardInterrupt):
    """A signal as an exception, so that files are closed as after Ctrl-C."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(*([text] if text else []))
        self.exit_code = 128 + number


def catch_signals() -> "Received":
    """Makes both signals raise Stopped. Ctrl-C stays ignored if a shell started the command that way (`nohup`, `&`)."""
    received = Received()

    def note(number: int, frame: FrameType | None) -> None:
        if postponed(number, frame):
            return
        received.number = number
        raise Stopped("", number)

    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    return received


class Received:
    """The last signal. Ray and other libraries in C turn every exception of a handler into a bare KeyboardInterrupt."""

    number: int | None = None
    can_drain = False  # for noted_signals: there is work to wind down

    def check(self, text: str) -> None:
        """Raises Stopped after a signal whose exception a library has swallowed."""
        if self.number is not None:
            raise Stopped(text, self.number)

    def exit_code(self, stop: KeyboardInterrupt) -> int:
        """The code of the command that `stop` ended."""
        return getattr(stop, "exit_code", 128 + (self.number or signal.SIGINT))


def postponed(number: int, frame: FrameType | None) -> bool:
    """Whether a signal comes during an import; if so, it is sent again until the import is over.

    torch aborts the process when an exception crosses its initialization in C++. An import that takes longer than
    IMPORT_S counts as stuck.
    """
    now = time.monotonic()
    if not _is_importing(frame) or now - _postponed_s.setdefault(number, now) > IMPORT_S:
        _postponed_s.pop(number, None)
        return False
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True  # it must not delay the end
    again.start()
    return True


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def end_at_once(code: int) -> None:
    """From now on a signal ends the process with `code`: its result is printed, only libraries are still closing."""
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


@contextmanager
def noted_signals(text: str) -> Iterator[Received]:
    """Notes the first signal; a second one has its usual effect, and so has the first until `can_drain` is set.

    `text` is that of the Stopped for a signal before that.
    """
    received = Received()
    before = {int(number): signal.getsignal(number) for number in STOPS}

    def note(number: int, frame: FrameType | None) -> None:
        if postponed(number, frame):
            return
        received.number = number
        signal.signal(number, before[number])
        if not received.can_drain:
            raise Stopped(text, number)

    try:
        with _handled(note):
            yield received
    except KeyboardInterrupt as stop:
        if isinstance(stop, Stopped) or received.number is None:
            raise
        raise Stopped(text, received.number) from None  # Ray turned it into another exception


@contextmanager
def delayed_signals() -> Iterator[None]:
    """Delays both signals until the block has ended."""
    came: list[int] = []
    try:
        with _handled(lambda number, _: came.append(number)):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles the signals that are not ignored. Only the main thread is interrupted."""
    with restored_signals():
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, handle)
        yield


@contextmanager
def restored_signals() -> Iterator[None]:
    """Restores our handlers after a library has set its own.

    Ray Train takes SIGINT and keeps it afterwards: the next Ctrl-C would be lost.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in STOPS} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def own_signals() -> Iterator[None]:
    """Keeps our handlers while a library that would set others is called.

    Ray takes SIGTERM and exits with 15 while it starts. Later it would abort the process, which could not react to
    `ray job stop`.
    """
    original, main = signal.signal, threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return

    def set_other(number: int, handler: Any, /) -> Any:
        ours = number in STOPS and threading.current_thread() is main
        return signal.getsignal(number) if ours else original(number, handler)

    with restored_signals():  # a library in C does not ask Python
        patch: Callable[..., Any] = set_other
        signal.signal = patch
        try:
            yield
        finally:
            signal.signal = original
