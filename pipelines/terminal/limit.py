"""A limit on lines of one kind: if a machine is lost with a hundred calls, the terminal need not show each of them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_LINES = 10
PER_S = 60.0


@dataclass(slots=True)
class _Kind:
    began_s: float
    num_shown: int = 0
    num_hidden: int = 0


class LineLimit:
    """Passes MAX_LINES warnings of one text, whatever its values, per PER_S seconds; the next one counts the rest."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def text(self, record: logging.LogRecord) -> str | None:
        """What to show of a record; None for nothing."""
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            return text
        kind = self._kinds.setdefault((record.name, str(record.msg)), _Kind(self._now()))
        if self._now() - kind.began_s > PER_S:
            text += f"; {kind.num_hidden} similar ones before it are in the log file" if kind.num_hidden else ""
            kind.began_s, kind.num_shown, kind.num_hidden = self._now(), 0, 0
        if kind.num_shown >= MAX_LINES:
            kind.num_hidden += 1
            return None
        kind.num_shown += 1
        return text + ("; more of these are only in the log file for now" if kind.num_shown == MAX_LINES else "")
