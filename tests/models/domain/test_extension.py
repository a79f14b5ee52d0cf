"""The numbers of a video that is continued."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams

PARAMS = st.sampled_from(
    [PlanParams(), PlanParams(overlap_frames=4), PlanParams(overlap_frames=12), PlanParams(16, 6, 30, 10)]
)


@given(PARAMS, st.integers(1, 300), st.integers(1, 100))
def test_what_exists_ends_with_a_chunk_and_reaches_over_the_overlap_of_a_window_with_new_frames(params, old, new):
    extension = Extension(old, new, params)
    plan, window = extension.plan, extension.plan.windows[extension.window]
    assert plan.num_frames == extension.end + new and extension.end - extension.shift == old
    assert extension.end in {chunk.stop for chunk in plan.chunks}
    assert extension.window >= 1 and params.overlap_frames <= extension.end - window.start < len(window)
    assert extension.chunks[0].start <= window.start and extension.chunks[-1].stop == extension.end
    places = [extension.place(frame) for frame in range(extension.end)]
    assert places == [0] * extension.shift + list(range(old))


@given(PARAMS, st.integers(1, 300), st.integers(1, 100))
def test_viewers_see_the_segments_from_the_first_frame_that_exists(params, old, new):
    extension = Extension(old, new, params)
    segments = extension.plan.segments[extension.num_skipped :]
    shown = [extension.shown(segment) for segment in segments]
    assert [frame for span in shown for frame in span] == list(range(old + new)) and all(shown)
    own = [frame for span in extension.own_segments for frame in extension.shown(span)]
    assert own == list(range(len(own))) and len(own) <= old
    assert len(extension.own_segments) == extension.window - extension.num_skipped
    chunks = extension.plan.chunks
    assert chunks[extension.num_own_chunks - 1].stop == extension.end
    assert all(extension.shown(chunk) for chunk in chunks[extension.num_skipped_chunks :])


@pytest.mark.parametrize("old", [24, 32, 80, 96])
def test_a_video_of_whole_chunks_keeps_the_numbers_of_the_longer_one(old):
    extension = Extension(old, 40, PlanParams())
    assert (extension.shift, extension.plan) == (0, Plan(old + 40, PlanParams()))


def test_a_continuation_without_frames_is_refused():
    with pytest.raises(ValueError, match="num_frames=0: must be a whole number of at least 1"):
        Extension(24, 0, PlanParams())
