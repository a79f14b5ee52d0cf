"""The terminal while a command works: our own lines and progress on stderr, results on stdout, the rest in a file."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime

from longtake.pipelines.terminal.limit import LineLimit
from longtake.pipelines.terminal.log_file import Results, libraries_to, new_log_file
from longtake.pipelines.terminal.progress import Progress, StatusLine, bar
from longtake.pipelines.terminal.screen import Screen

OWN = logging.getLogger("longtake")
logger = logging.getLogger(__name__)
REDRAW_S = 0.5  # of the status on a terminal


@contextmanager
def session(command: str, debug: bool = False) -> Iterator[None]:
    """Shows our loggers' lines and what is going on (`progress.doing`); with `debug`, also libraries' lines.

    The log file is named before the first other line. Progress prints one after a second, so a command that is refused
    sooner prints only its refusal, and leaves no file.
    """
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
        with Progress(_log):
            yield
        return
    path = new_log_file(command)
    named = False
    try:
        with libraries_to(path) as lines:
            screen = Screen(lines, lines.isatty(), _stamped(time.time(), f"what libraries print is in {path}"))
            try:
                with _own_lines(screen, logging.INFO), _progress(screen):
                    yield
            finally:
                named = not screen.is_empty
    finally:
        if not named:
            path.unlink(missing_ok=True)


@contextmanager
def warnings_only() -> Iterator[None]:
    """For a command of one video, whose models run here: our warnings, and a bar if stderr is a terminal."""
    screen, out = Screen(sys.stderr, sys.stderr.isatty()), sys.stdout
    sys.stdout = Results(out, out)
    try:
        with _own_lines(screen, logging.WARNING), _progress(screen) if screen.is_terminal else nullcontext():
            yield
    finally:
        sys.stdout = out


@contextmanager
def _progress(screen: Screen) -> Iterator[None]:
    shown = Progress(lambda status: screen.status(bar(status)), REDRAW_S) if screen.is_terminal else Progress(_log)
    assert isinstance(sys.stdout, Results), "our callers put it there"
    sys.stdout.make_room = lambda: screen.status("")
    try:
        with shown:
            yield
    finally:
        screen.status("")  # the thread has ended: it draws no more


def _log(status: StatusLine) -> None:
    logger.info("%s", status.text)


class _Lines(logging.Handler):
    """Records as lines of a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen, self._limit = screen, LineLimit()

    def emit(self, record: logging.LogRecord) -> None:
        text = self._limit.text(record)
        if text is not None:
            self._screen.line(_stamped(record.created, text))


def _stamped(seconds: float, text: str) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S} {' '.join(text.split())}"


@contextmanager
def _own_lines(screen: Screen, lowest: int) -> Iterator[None]:
    handler, level = _Lines(screen), OWN.level
    OWN.addHandler(handler)
    OWN.setLevel(lowest)
    try:
        yield
    finally:
        OWN.removeHandler(handler)
        OWN.setLevel(level)
