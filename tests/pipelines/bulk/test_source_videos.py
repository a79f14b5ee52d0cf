"""Existing videos as the writer of a bulk job reads them."""

from fractions import Fraction

import numpy as np
import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.span import Span
from longtake.models.domain.state import Segment
from longtake.models.video.frames import to_uint8, upscale
from longtake.models.video.reader import VideoReader
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.bulk.source_videos import SourceVideos
from longtake.pipelines.bulk.writer import BulkWriter
from longtake.pipelines.datasets.continued_videos import UnreadableVideo, find_video
from longtake.pipelines.files.store import Store
from tests.support.videos import noise, video

NUM_OLD, NUM_NEW = 53, 20


@pytest.fixture
def source(tmp_path):
    """53 frames of 31x33."""
    (tmp_path / "in.mkv").write_bytes(video(noise(NUM_OLD, 31, 33), codec="ffv1", pix_fmt="bgr0").getvalue())
    return tmp_path / "in.mkv"


def part_of(source, id="a"):
    extension = Extension(NUM_OLD, NUM_NEW, PlanParams())
    return Continuation(id, find_video(str(source)), extension, 0, (30, 32), Fraction(24), False)


def test_its_frames_do_not_depend_on_the_order_of_calls_nor_on_what_is_open(source):
    frames = noise(NUM_OLD, 31, 33)[:, :30, :32]
    videos = SourceVideos(max_open=1)
    for index in (0, 1, 2, 0, 2, 1):
        for part in (part_of(source), part_of(source, "b")):
            segment = videos.own(part, index)
            assert segment.span == part.own_span(index)
            assert np.array_equal(segment.frames, frames[segment.span.frames])
    assert [part_of(source).own_span(index).stop for index in range(3)] == [13, 29, 45]


def test_videos_in_progress_are_decoded_once(source, monkeypatch):
    passes, frames = [], VideoReader.frames
    monkeypatch.setattr(VideoReader, "frames", lambda reader: passes.append(reader) or frames(reader))
    videos = SourceVideos(max_open=2)
    for index in range(3):
        for part in (part_of(source), part_of(source, "b")):
            videos.own(part, index)
    assert len(passes) == len(set(map(id, passes))) == 2


def test_a_clip_that_is_read_again_in_between_changes_nothing(source):
    frames, videos, part = noise(NUM_OLD, 31, 33), SourceVideos(max_open=1), part_of(source)
    for index in range(3):
        clip = videos.clip(part)
        assert np.array_equal(clip.frames[-8:], frames[-8:]) and np.array_equal(clip.anchor, frames[0])
        segment = videos.own(part, index)
        assert np.array_equal(segment.frames, frames[segment.span.frames, :30, :32])


def test_one_that_changed_on_the_way_is_named_and_read_anew(source):
    videos, part, whole = SourceVideos(max_open=1), part_of(source), source.read_bytes()
    assert videos.clip(part).span.stop == part.extension.end
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideo, match=f"^video={source}: it changed while it was read"):
        for index in range(3):
            videos.own(part, index)
    source.unlink()
    with pytest.raises(UnreadableVideo, match=f"^video={source}: No such file"):
        videos.own(part, 0)


def test_a_segment_of_the_models_is_written_with_the_frames_that_exist_in_the_size_of_the_video(source, tmp_path):
    store, part = Store(tmp_path), part_of(source)
    store.put("job.json", b"{}")
    writer, extension = BulkWriter(store), part.extension
    clip, _ = writer.read_clip(part)
    index, span = part.fragment_of(extension.window), extension.plan.segments[extension.window]
    assert index == part.num_own and part.needs_clip(extension.window) and part.own_span(index - 1).stop < NUM_OLD
    new = Segment(span, noise(len(span), 60, 64))
    _, fragment = writer.encode(new, part.fps, index, part.num_frames, False, part, clip)
    num_held = extension.end - span.start
    own = noise(NUM_OLD, 31, 33)[NUM_OLD - num_held :, :30, :32]
    shown = np.concatenate([own, to_uint8(upscale(new.frames[num_held:], 30, 32))])
    expected = Segment(Span(NUM_OLD - num_held, NUM_OLD - num_held + len(span)), shown)
    assert fragment == writer.encode(expected, 24, index, part.num_frames, False)[1]
