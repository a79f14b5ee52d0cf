import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import longtake.models.video.reader
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.video.reader import VideoReader
from longtake.pipelines.runners.video_source import VideoSource, pad_last
from tests.support.videos import levels, video, which

SPEC = PromptSpec("v", "a red circle")


def _source(num_frames: int) -> VideoSource:
    return VideoSource(VideoReader(video(levels(num_frames))))


def _chunks(source: VideoSource, num_frames: int, order: list[int] | None = None) -> dict[int, list[int]]:
    plan = Plan(num_frames, PlanParams())
    found = {}
    for index in order or range(len(plan.chunks)):
        memory, chunk = source.advance(SPEC, plan, index, None)
        assert memory is None and chunk.span == plan.chunks[index]
        found[index] = which(chunk.frames)
    return found


def _expected(num_frames: int, length: int) -> dict[int, list[int]]:
    return {i: [min(f, length - 1) for f in span] for i, span in enumerate(Plan(num_frames, PlanParams()).chunks)}


@pytest.mark.parametrize("length", [1, 5, 16, 17, 24, 30])
def test_the_chunks_are_the_video_and_then_its_last_frame(length):
    assert _chunks(_source(length), length) == _expected(length, length)


def test_chunks_far_past_the_end_are_the_last_frame():
    assert _chunks(_source(10), 60) == _expected(60, 10)


def test_any_order_of_chunks_gives_the_same_frames():
    order = [2, 2, 0, 3, 1, 0]
    assert _chunks(_source(30), 30, order) == {i: _expected(30, 30)[i] for i in order}


def test_another_source_of_the_same_file_gives_the_same_frames_from_the_middle():
    assert _chunks(_source(30), 30, [2]) == {2: _expected(30, 30)[2]}


def test_a_video_in_order_is_opened_once(monkeypatch):
    opened = []
    real = longtake.models.video.reader.av.open
    source = _source(30)
    monkeypatch.setattr(
        longtake.models.video.reader.av, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs)
    )
    _chunks(source, 30)
    assert len(opened) == 1


@given(t=st.integers(1, 9), n=st.integers(0, 20))
def test_padding_repeats_the_last_frame_and_cuts_nothing(t, n):
    frames = np.random.default_rng(0).integers(0, 256, (t, 2, 2, 3), dtype=np.uint8)
    padded = pad_last(frames, n)
    assert len(padded) == max(t, n)
    assert np.array_equal(padded[:t], frames)
    assert all(np.array_equal(frame, frames[-1]) for frame in padded[t:])


def test_nothing_cannot_be_padded():
    with pytest.raises(ValueError, match="0 frames"):
        pad_last(np.zeros((0, 2, 2, 3), np.uint8), 4)
