import numpy as np
import pytest

from models.metrics.seams import frame_differences, seam_ratio


def ramp(levels):
    return np.repeat(np.asarray(levels, np.uint8), 4 * 4 * 3).reshape(len(levels), 4, 4, 3)


def test_differences_are_in_shares_of_full_brightness():
    assert np.allclose(frame_differences(ramp([0, 51, 51, 255])), [0.2, 0, 0.8])


def test_a_steady_change_has_no_seam():
    assert seam_ratio(ramp(range(0, 40, 2)), [8, 16]) == pytest.approx(1)


def test_a_jump_at_the_border_is_a_seam_of_its_size():
    levels = list(range(8)) + list(range(17, 25))  # 1 a frame, 10 into frame 8
    assert seam_ratio(ramp(levels), [8]) == pytest.approx(10)
    assert seam_ratio(ramp(levels), [4]) < 1


def test_a_still_video_has_no_ratio():
    assert np.isnan(seam_ratio(ramp([5] * 10), [4]))


@pytest.mark.parametrize("borders", [[], [0], [10]])
def test_borders_outside_are_refused(borders):
    with pytest.raises(ValueError, match="borders="):
        seam_ratio(ramp(range(10)), borders)
