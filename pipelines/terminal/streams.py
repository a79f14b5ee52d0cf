"""Output that never ends a command: no character, departed reader or closed descriptor raises an error."""

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

ESCAPES = "backslashreplace"  # an ASCII terminal shows `\u4e2d` for a character that it lacks


NAMES = {1: "stdout", 2: "stderr"}


class _Reader(io.FileIO):
    """A descriptor whose reader may leave, as `head` does: what it does not read is dropped.

    `lossy` drops what cannot be written for any reason: the lines of a job must not end it when their disk is full.
    """

    def __init__(self, descriptor: int, lossy: bool, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lossy, self._name = lossy, name

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            if not self._lossy:
                raise OSError(error.errno, error.strerror, self._name) from None
            return len(data)


def text_stream(descriptor: int, encoding: str, lossy: bool, name: str = "") -> TextIO:
    """A stream of text that is written line by line; errors say `name`."""
    file = io.BufferedWriter(_Reader(descriptor, lossy, name or NAMES.get(descriptor, "")))
    return io.TextIOWrapper(file, encoding, ESCAPES, line_buffering=True)


def protect() -> None:
    """Makes stdin, stdout and stderr exist, and stdout and stderr accept everything; for a process of our own."""
    _open_missing()
    for name, lossy in (("stdout", False), ("stderr", True)):
        stream: Any = getattr(sys, name)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        with suppress(Exception):
            stream.flush()
        setattr(sys, name, text_stream({"stdout": 1, "stderr": 2}[name], encoding, lossy))


def finish(code: int) -> int:
    """The exit code of a process that is done printing: 1 instead of 0 if its output could not be written.

    Drops what libraries still write to stderr when the process ends.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if code == 0:
            print(f"longtake: error: {error}", file=sys.stderr)
            code = 1
    sys.stdout = None  # else Python would try again at its end, and exit with 120
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return code


def _open_missing() -> None:
    """Opens the descriptors 0, 1 and 2 that are closed (`>&-`): else the next files that are opened would get them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
