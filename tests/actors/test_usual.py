"""Whether a call is slow depends on earlier calls of the same kind."""

import pytest

from longtake.actors.usual import UsualTimes


@pytest.mark.report("B6")
def test_a_call_is_slow_after_three_times_the_usual_time_of_its_kind():
    usual = UsualTimes()
    for seconds in (10.0, 12.0, 11.0):
        usual.add("base", seconds)
    assert not usual.is_slow("base", 32.9) and usual.is_slow("base", 33.1)
    assert not usual.is_slow("refiner", 1000.0)  # nothing is usual yet


def test_calls_of_milliseconds_are_not_slow_before_five_seconds():
    usual = UsualTimes()
    for _ in range(3):
        usual.add("writer", 0.01)
    assert not usual.is_slow("writer", 4.9) and usual.is_slow("writer", 5.1)


def test_one_long_call_does_not_make_long_calls_usual():
    usual = UsualTimes()
    for seconds in (10.0, 900.0, 11.0):
        usual.add("base", seconds)
    assert usual.usual_s("base") == 11.0
