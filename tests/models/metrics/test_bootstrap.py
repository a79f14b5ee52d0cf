import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.metrics.bootstrap import interval


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_the_mean_lies_in_its_interval_and_the_interval_in_the_values(values):
    mean, low, high = interval(values)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= low <= mean + slack and mean - slack <= high <= max(values) + slack


def test_more_videos_make_it_narrower():
    few, many = interval([0.0, 1.0] * 5), interval([0.0, 1.0] * 50)
    assert many[2] - many[1] < 0.5 * (few[2] - few[1])


def test_it_is_the_same_every_time():
    assert interval([1.0, 2.0, 4.0]) == interval([1.0, 2.0, 4.0])


def test_no_videos_have_no_interval():
    with pytest.raises(ValueError, match="values="):
        interval([])
