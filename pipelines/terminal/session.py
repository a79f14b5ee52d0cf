"""The terminal while a command works: our own lines and progress on stderr, results on stdout, the rest in a file."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from longtake.pipelines.terminal.limit import LineLimit
from longtake.pipelines.terminal.log_file import Results, libraries_to, new_log_file
from longtake.pipelines.terminal.progress import Progress, Status, bar
from longtake.pipelines.terminal.screen import Screen

OWN = logging.getLogger("longtake")
logger = logging.getLogger(__name__)
REDRAW_S = 0.5  # of the status on a terminal


@contextmanager
def session(command: str, debug: bool = False) -> Iterator[None]:
    """Shows the lines of our loggers and what goes on (`progress.doing`). With `debug` also those of libraries."""
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
        with Progress(_log):
            yield
        return
    path = new_log_file(command)
    with libraries_to(path) as lines, _own_lines(Screen(lines, lines.isatty())) as screen:
        logger.info("what libraries print is in %s", path)
        progress = (
            Progress(lambda status: screen.status(bar(status)), REDRAW_S) if screen.is_terminal else Progress(_log)
        )
        assert isinstance(sys.stdout, Results), "libraries_to puts it there"
        sys.stdout.make_room = lambda: screen.status("")
        with progress:
            try:
                yield
            finally:
                screen.status("")


@contextmanager
def bar_on_terminal() -> Iterator[None]:
    """A bar for commands without a session, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    screen = Screen(sys.stderr, is_terminal=True)
    with Progress(lambda status: screen.status(bar(status)), REDRAW_S):
        try:
            yield
        finally:
            screen.status("")


def _log(status: Status) -> None:
    logger.info("%s", status.text)


class _Lines(logging.Handler):
    """Records as lines of a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen, self._limit = screen, LineLimit()

    def emit(self, record: logging.LogRecord) -> None:
        text = self._limit.text(record)
        if text is not None:
            when = datetime.fromtimestamp(record.created)
            self._screen.line(f"{when:%Y-%m-%d %H:%M:%S} {' '.join(text.split())}")


@contextmanager
def _own_lines(screen: Screen) -> Iterator[Screen]:
    handler, level = _Lines(screen), OWN.level
    OWN.addHandler(handler)
    OWN.setLevel(logging.INFO)
    try:
        yield screen
    finally:
        OWN.removeHandler(handler)
        OWN.setLevel(level)
