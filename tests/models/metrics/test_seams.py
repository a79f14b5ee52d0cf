import math
from itertools import pairwise

import numpy as np
import pytest

from longtake.models.metrics.change import frame_differences
from longtake.models.metrics.seams import feature_difference, features, flow_jumps, over_rest
from tests.support.clips import texture, translating


def ramp(levels):
    return np.repeat(np.asarray(levels, np.uint8), 4 * 4 * 3).reshape(len(levels), 4, 4, 3)


def feature_differences(frames):
    return np.array([feature_difference(*pair) for pair in pairwise(map(features, frames))])


def seam_ratio(frames, borders):
    return over_rest(frame_differences(frames), borders)


def test_a_steady_change_has_no_seam():
    assert seam_ratio(ramp(range(0, 40, 2)), [8, 16]) == pytest.approx(1)


def test_a_jump_at_the_border_is_a_seam_of_its_size():
    levels = list(range(8)) + list(range(17, 25))  # 1 a frame, 10 into frame 8
    assert seam_ratio(ramp(levels), [8]) == pytest.approx(10)
    assert seam_ratio(ramp(levels), [4]) < 1


def test_a_still_video_has_no_ratio_and_one_that_moves_at_its_borders_alone_an_infinite_one():
    assert np.isnan(seam_ratio(ramp([5] * 10), [4]))
    assert seam_ratio(ramp([5] * 4 + [9] * 4), [4]) == math.inf


@pytest.mark.parametrize("borders", [[], [0], [10], [-1]])
def test_borders_outside_are_refused(borders):
    with pytest.raises(ValueError, match="borders="):
        seam_ratio(ramp(range(10)), borders)


def test_the_last_pair_may_be_a_border():
    assert over_rest(np.array([1.0, 1.0, 4.0]), [3]) == 4


def test_motion_that_stumbles_at_a_border_is_a_jump_there():
    lengths = np.array([2.0, 2.0, 2.0, 8.0, 2.0, 2.0, 2.0])
    assert flow_jumps(np.full(6, 2.0)).max() == 0
    assert over_rest(flow_jumps(lengths), [4]) == pytest.approx(6 / 1)


def test_what_is_drawn_does_not_change_with_the_light():
    picture = texture().astype(float)
    darker, other = (picture * 0.8).astype(np.uint8), texture(seed=1)
    light, drawn = feature_differences(np.stack([texture(), darker, other]))
    assert light < 0.2 * drawn


def test_features_see_a_cut_in_a_moving_texture():
    frames = np.concatenate([translating(8, 1, 0), translating(8, 1, 0, seed=1)])
    assert over_rest(feature_differences(frames), [8]) > 1.5
