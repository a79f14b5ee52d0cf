"""Machines that come and go."""

import pytest

from longtake.pipelines.runners.machines import changes


@pytest.mark.report("B6")
def test_each_machine_that_went_or_came_is_a_line():
    lines = changes(
        {"1": "alpha (10.0.0.1)", "2": "beta (10.0.0.2)"}, {"2": "beta (10.0.0.2)", "3": "gamma (10.0.0.3)"}
    )
    assert lines == [
        "machine alpha (10.0.0.1) left the cluster: its calls are made again elsewhere",
        "machine gamma (10.0.0.3) joined the cluster",
    ]
    assert changes({"1": "a"}, {"1": "a"}) == []
