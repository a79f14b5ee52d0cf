"""The log file of a command: all that libraries print and log, in Python or in C++, and a copy of our own lines."""

import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.streams import text_stream

FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def new_log_file(command: str) -> Path:
    """A new empty file in the temporary folder, readable for its owner only: lines may hold prompts."""
    name = f"longtake-{command}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        path = Path(tempfile.gettempdir(), name)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Refused(f"TMPDIR={os.environ.get('TMPDIR', '')}: no log file can be written there ({error})") from None
    return path


@contextmanager
def libraries_to(path: Path) -> Iterator[TextIO]:
    """Points the descriptors 1 and 2, `sys.stderr` and the root logger at the file; yields the original stderr.

    What the main thread prints on `sys.stdout` is the result of the command, and stays. Ray prints there from threads.
    """
    # Never closed, nor are the duplicates below: handlers of libraries and late lines of threads keep their numbers,
    # and would write into the next file that gets them.
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    log = text_stream(file, "utf-8", lossy=True)
    with _descriptors_at(file) as before, _streams_at(log, before) as lines, _root_logger_at(log):
        yield lines


@contextmanager
def _descriptors_at(file: int) -> Iterator[dict[int, int]]:
    """Points the descriptors 1 and 2 at the file; yields duplicates of what they were."""
    before = {number: os.dup(number) for number in (1, 2)}
    _flush(sys.stdout, sys.stderr)
    try:
        for number in before:
            os.dup2(file, number)
        yield before
    finally:
        for number, old in before.items():
            os.dup2(old, number)


@contextmanager
def _streams_at(log: TextIO, before: Mapping[int, int]) -> Iterator[TextIO]:
    """Points `sys.stderr` at the log, and `sys.stdout` outside the main thread; yields the original stderr."""
    out, err = sys.stdout, sys.stderr
    results = text_stream(before[1], out.encoding, lossy=False, name="stdout") if _descriptor(out) == 1 else out
    lines = text_stream(before[2], err.encoding, lossy=True) if _descriptor(err) == 2 else err
    sys.stdout, sys.stderr = Results(results, log), log
    try:
        yield lines
    finally:
        _flush(sys.stdout, log)
        sys.stdout, sys.stderr = out, err


@contextmanager
def _root_logger_at(log: TextIO) -> Iterator[None]:
    root, handler = logging.getLogger(), logging.StreamHandler(log)
    handler.setFormatter(FORMAT)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _flush(*streams: io.TextIOBase | TextIO) -> None:
    for stream in streams:
        with suppress(OSError, ValueError):
            stream.flush()


class Results(io.TextIOBase):
    """`sys.stdout` of a command: the main thread's lines go to `results`, those of other threads to the log.

    `make_room` is called before a line, which may go to the same terminal as a status.
    """

    def __init__(self, results: TextIO, log: TextIO) -> None:
        self._results, self._log = results, log
        self.make_room: Callable[[], None] = lambda: None

    def write(self, text: str, /) -> int:
        stream = self._stream
        if stream is self._results:
            self.make_room()
        return stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._results.isatty()

    def fileno(self) -> int:
        return 1  # for children: the log

    @property
    def buffer(self) -> BinaryIO:
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._results.encoding

    @property
    def _stream(self) -> TextIO:
        return self._results if threading.current_thread() is threading.main_thread() else self._log


def _descriptor(stream: TextIO) -> int | None:
    """The descriptor of a stream; None for one without, such as pytest's."""
    with suppress(OSError, ValueError, AttributeError):
        return stream.fileno()
    return None
