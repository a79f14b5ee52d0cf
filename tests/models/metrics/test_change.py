import numpy as np
import pytest

from longtake.models.metrics.change import flow_std, frame_differences, stagnation, temporal_flicker
from tests.support.clips import still, translating


def levels(*values):
    return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])


def test_differences_are_in_shares_of_full_brightness():
    assert np.allclose(frame_differences(levels(0, 51, 51, 255)), [0.2, 0, 0.8])


def test_a_still_video_is_calm_and_stagnates():
    differences = frame_differences(still(5))
    assert temporal_flicker(differences) == 1 and stagnation(differences) == 1


def test_a_moving_video_does_not_stagnate():
    assert stagnation(frame_differences(translating(5, 3, 0))) == 0


def test_flicker_is_what_is_missing_to_one():
    assert temporal_flicker(frame_differences(levels(100, 151, 100))) == pytest.approx(0.8)


def test_half_a_video_that_stands_stagnates_half():
    assert stagnation(frame_differences(levels(0, 9, 18, 18, 18))) == 0.5


def test_steady_motion_has_no_spread():
    assert flow_std(np.full(9, 3.0)) == 0 and flow_std(np.array([1.0, 3.0])) == 1
