import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.metrics.flow import dis
from longtake.models.metrics.measure import measure
from longtake.models.video.bars import without_bars
from longtake.models.video.frames import add_bars
from tests.support.clips import translating

BAR = st.integers(0, 5)


@given(h=st.integers(1, 6), w=st.integers(1, 6), top=BAR, left=BAR)
def test_the_picture_inside_the_bars_is_left(h, w, top, left):
    frames = np.random.default_rng(h).integers(20, 256, (3, h, w, 3), np.uint8)
    assert np.array_equal(np.stack(list(without_bars(add_bars(frames, h + 2 * top, w + 2 * left)))), frames)


def test_the_first_frame_says_where_the_bars_are_and_a_black_one_has_none():
    frames = add_bars(np.full((2, 4, 4, 3), 99, np.uint8), 4, 8)
    frames[1] = 0
    assert [frame.shape for frame in without_bars(frames)] == [(4, 4, 3)] * 2
    assert [frame.shape for frame in without_bars(frames[::-1])] == [(4, 8, 3)] * 2


def test_a_dark_edge_at_one_side_alone_is_a_part_of_the_picture():
    frames = np.full((1, 4, 4, 3), 99, np.uint8)
    frames[:, :, 0] = 0
    assert next(iter(without_bars(frames))).shape == (4, 4, 3)


def test_metrics_of_a_framed_video_without_its_bars_are_those_of_the_picture():
    frames = translating(8, 2, 0).astype(np.uint8)
    whole, framed = (
        measure(some, 8.0, dis(), size=128, borders=[4]).values for some in (frames, add_bars(frames, 128, 224))
    )
    inside = measure(without_bars(add_bars(frames, 128, 224)), 8.0, dis(), size=128, borders=[4]).values
    assert inside == whole
    assert framed["temporal_flicker"] > whole["temporal_flicker"]  # what the bars would hide


@pytest.mark.parametrize("measure_name", ["seam_ratio", "seam_flow", "seam_feature"])
def test_seams_are_ratios_and_stay_seams_between_bars(measure_name):
    frames = np.concatenate([translating(8, 1, 0), translating(8, 1, 0, seed=1)]).astype(np.uint8)
    plain, framed = (
        measure(some, 8.0, dis(), size=128, borders=[8]).values[measure_name]
        for some in (frames, add_bars(frames, 128, 224))
    )
    assert plain > 1.5 and framed > 1.5
