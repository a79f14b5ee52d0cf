"""Many lines of one kind become a few, by a fake clock."""

import logging

import pytest

from longtake.pipelines.terminal.limit import LineLimit


@pytest.mark.report("B6")
def test_of_many_lines_of_a_kind_some_are_shown_and_the_others_counted():
    now = [0.0]
    limit = LineLimit(lambda: now[0])

    def shown(text, *values, level=logging.WARNING):
        return limit.text(logging.LogRecord("longtake.x", level, "", 0, text, values, None))

    lines = [shown("call %d lost", i) for i in range(100)]
    assert lines[:9] == [f"call {i} lost" for i in range(9)]
    assert lines[9] == "call 9 lost; more of these are only in the log file for now"
    assert lines[10:] == [None] * 90
    assert shown("machine %s went", "m") == "machine m went"
    assert all(shown("%s", "12/40 videos", level=logging.INFO) for _ in range(100))
    now[0] = 61.0
    assert shown("call %d lost", 100) == "call 100 lost; 90 similar ones before it are in the log file"
