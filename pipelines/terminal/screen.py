"""Lines on a terminal or in a log, and below them, on a terminal only, one status that is redrawn in place."""

import shutil
import threading
from typing import TextIO

CLEAR = "\r\x1b[K"


class Screen:
    """Lines above a status. Any thread may write: a line never lands inside the status."""

    def __init__(self, stream: TextIO, is_terminal: bool, first: str = "") -> None:
        """The line `first` is written before anything else, and not at all if there is nothing else."""
        self._stream, self.is_terminal = stream, is_terminal
        self._first = first
        self.is_empty = True
        self._lock = threading.Lock()
        self._status = ""

    def line(self, text: str) -> None:
        with self._lock:
            self._write(f"{CLEAR if self._status else ''}{text}\n{self._status}")

    def status(self, text: str) -> None:
        """Replaces the status; an empty text removes it. Only on a terminal."""
        with self._lock:
            before, self._status = self._status, text[: shutil.get_terminal_size().columns - 1]
            if before != self._status:
                self._write(CLEAR + self._status)

    def _write(self, text: str) -> None:
        self._stream.write(f"{self._first}\n{text}" if self.is_empty and self._first else text)
        self.is_empty = False
        self._stream.flush()
