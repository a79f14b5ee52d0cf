"""Lines and one status share a terminal."""

import io
import re

import pytest

from longtake.pipelines.terminal.screen import Screen


def seen(written: str) -> list[str]:
    """The rows of a terminal after this text."""
    return [re.split("\r\x1b\\[K", row)[-1] for row in written.split("\n")]


@pytest.mark.report("B3")
def test_a_line_never_lands_in_the_status():
    stream = io.StringIO()
    screen = Screen(stream, is_terminal=True)
    screen.status("1/10 videos")
    screen.line("an actor died")
    screen.status("2/10 videos")
    screen.line("it is back")
    assert seen(stream.getvalue()) == ["an actor died", "it is back", "2/10 videos"]
    screen.status("")
    assert seen(stream.getvalue())[-1] == ""


def test_a_status_is_cut_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    stream = io.StringIO()
    Screen(stream, is_terminal=True).status("0123456789abc")
    assert seen(stream.getvalue()) == ["012345678"]
