"""Span and Plan: how a video is cut."""

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.span import Span

# A long video cuts in the same way as one of a few windows; 400 frames are 25 windows.
NUM_FRAMES = st.integers(1, 400)


@st.composite
def plan_params(draw: st.DrawFn) -> PlanParams:
    """Any legal sizes, odd ones too."""
    chunk_frames = draw(st.integers(2, 40))
    overlap_frames = draw(st.integers(1, 16))
    return PlanParams(
        chunk_frames=chunk_frames,
        condition_frames=draw(st.integers(1, chunk_frames - 1)),
        window_frames=draw(st.integers(2 * overlap_frames, 50)),
        overlap_frames=overlap_frames,
    )


def test_the_drawing_in_the_design_is_the_plan_of_40_frames():
    plan = Plan(40, PlanParams())
    assert plan.chunks == (Span(0, 16), Span(16, 24), Span(24, 32), Span(32, 40))
    assert plan.windows == (Span(0, 24), Span(16, 40))
    assert plan.segments == (Span(0, 16), Span(16, 40))
    assert [list(plan.chunks_of(k)) for k in range(2)] == [[0, 1], [1, 2, 3]]


@pytest.mark.parametrize(
    ("num_frames", "num_windows", "end"), [(1, 1, 24), (17, 1, 24), (24, 1, 24), (25, 2, 40), (40, 2, 40), (41, 3, 56)]
)
def test_there_are_as_few_windows_as_cover_the_video(num_frames, num_windows, end):
    plan = Plan(num_frames, PlanParams())
    assert len(plan.windows) == num_windows
    assert plan.chunks[-1].stop == plan.windows[-1].stop == end


@given(NUM_FRAMES, plan_params())
def test_segments_tile_the_video_and_each_lies_in_its_window(num_frames, params):
    plan = Plan(num_frames, params)
    assert [frame for segment in plan.segments for frame in segment] == list(range(num_frames))
    assert all(len(segment) > 0 for segment in plan.segments)
    for window, segment in zip(plan.windows, plan.segments, strict=True):
        assert window.start == segment.start and segment.stop <= window.stop


@given(NUM_FRAMES, plan_params())
def test_each_window_overlaps_the_next_and_no_other(num_frames, params):
    windows = Plan(num_frames, params).windows
    assert all(len(window) == params.window_frames for window in windows)
    for before, after in itertools.pairwise(windows):
        assert before.stop - after.start == params.overlap_frames
    assert all(first.stop <= third.start for first, third in zip(windows, windows[2:], strict=False))


@given(NUM_FRAMES, plan_params())
def test_chunks_tile_the_windows_and_none_is_superfluous(num_frames, params):
    plan = Plan(num_frames, params)
    frames = [frame for chunk in plan.chunks for frame in chunk]
    assert frames == list(range(plan.chunks[-1].stop))
    assert len(plan.chunks[0]) == params.chunk_frames
    assert all(len(chunk) == params.chunk_frames - params.condition_frames for chunk in plan.chunks[1:])
    assert plan.chunks[-1].start < plan.windows[-1].stop <= plan.chunks[-1].stop


@given(NUM_FRAMES, plan_params())
def test_chunks_of_a_window_are_those_that_share_a_frame_with_it(num_frames, params):
    plan = Plan(num_frames, params)
    for k, window in enumerate(plan.windows):
        shared = [i for i, chunk in enumerate(plan.chunks) if set(chunk) & set(window)]
        assert list(plan.chunks_of(k)) == shared


def test_a_plan_is_its_length_and_its_params_and_travels_as_no_more():
    plan, same = Plan(4000, PlanParams()), Plan(4000, PlanParams())
    assert plan == same and hash(plan) == hash(same) and plan != Plan(4001, PlanParams())
    assert len(plan.chunks) > 400
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert len(pickle.dumps(plan)) < 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_frames": 0},
        {"chunk_frames": 16.0},
        {"chunk_frames": True},
        {"condition_frames": 0},
        {"condition_frames": 16},
        {"overlap_frames": 0},
        {"overlap_frames": 13},
        {"window_frames": 15},
        {"window_frames": "24"},
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name_and_value(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        PlanParams(**wrong)


@pytest.mark.parametrize("num_frames", [0, -1, 2.5, "80", None, True])
def test_a_video_without_a_frame_has_no_plan(num_frames):
    with pytest.raises(ValueError, match=f"num_frames={num_frames!r}"):
        Plan(num_frames, PlanParams())


def test_a_span_is_a_half_open_range():
    span = Span(2, 5)
    assert len(span) == 3 and list(span) == [2, 3, 4] and "abcdefg"[span.frames] == "cde" and str(span) == "[2, 5)"
    assert not Span(3, 3)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2)])
def test_a_span_that_runs_backwards_or_starts_before_the_video_is_refused(start, stop):
    with pytest.raises(ValueError, match=r"0 <= start <= stop"):
        Span(start, stop)
