"""The log file of a command: all that libraries print and log, in Python or in C++, and our own lines again."""

import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

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
    """Points the descriptors 1 and 2, `sys.stderr` and the root logger at the file; yields the stderr of before.

    What the main thread prints on `sys.stdout` is the result of the command, and stays. Ray prints there from threads.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    out, err = sys.stdout, sys.stderr
    saved = {number: os.dup(number) for number in (1, 2)}
    log = text_stream(file, "utf-8", lossy=True)
    handler = logging.StreamHandler(log)
    handler.setFormatter(FORMAT)
    root = logging.getLogger()
    level = root.level
    try:
        results = text_stream(saved[1], out.encoding, lossy=False, name="stdout") if _descriptor(out) == 1 else out
        sys.stdout = Results(results, log)
        lines = text_stream(saved[2], err.encoding, lossy=True) if _descriptor(err) == 2 else err
        sys.stderr = log
        for stream in (out, err):
            with suppress(OSError, ValueError):
                stream.flush()
        for number in saved:
            os.dup2(file, number)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for stream in (sys.stdout, log):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = out, err
        # The duplicates stay open: a late line of a thread would land in the next file with their numbers.
        for number, old in saved.items():
            os.dup2(old, number)


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
