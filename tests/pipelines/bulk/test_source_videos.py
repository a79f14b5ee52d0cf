"""Existing videos as the writer of a bulk job reads them."""

from fractions import Fraction

import numpy as np
import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.span import Span
from longtake.models.domain.state import Segment
from longtake.models.video.reader import VideoReader
from longtake.pipelines.bulk.continuation import Continuation
from longtake.pipelines.bulk.source_videos import SourceVideos
from longtake.pipelines.bulk.writer import BulkWriter
from longtake.pipelines.datasets.continued_videos import find_video
from longtake.pipelines.files.piece_writer import UnreadableInput
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
    assert part_of(source).num_own == 3 and part_of(source).own_span(2) == Span(29, 45)


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
    with pytest.raises(UnreadableInput, match=f"^video={source}: it changed \\(now "):
        for index in range(3):
            videos.own(part, index)
    source.unlink()
    with pytest.raises(UnreadableInput, match=f"^video={source}: No such file"):
        videos.own(part, 0)


def test_another_video_in_its_place_is_noticed_though_the_first_one_is_open(source, tmp_path):
    videos, part = SourceVideos(max_open=1), part_of(source)
    videos.own(part, 0)
    other = video(noise(NUM_OLD, 31, 33)[::-1], codec="ffv1", pix_fmt="bgr0").getvalue()
    (tmp_path / "other.mkv").write_bytes(other)
    (tmp_path / "other.mkv").replace(source)
    for call in (lambda: videos.own(part, 1), lambda: videos.sound(part), lambda: videos.clip(part)):
        with pytest.raises(UnreadableInput, match=f"^video={source}: it changed \\(now "):
            call()


def test_new_frames_are_written_in_the_size_of_the_video_and_after_its_own(source, tmp_path):
    store, part = Store(tmp_path), part_of(source)
    store.put("job.json", b"{}")
    writer, extension = BulkWriter(store), part.extension
    assert part.fragment_of(extension.window) == part.num_own and part.joins(extension.window)
    span = extension.plan.segments[extension.window]
    new, index = Segment(span, noise(len(span), 60, 64)), part.num_own
    clip, _ = writer.read_clip(part)
    thumbnail, fragment = writer.encode(new, part.fps, index, part.num_frames, True, part, clip)
    own = noise(NUM_OLD, 31, 33)[span.start - extension.shift :, :30, :32]
    whole = np.concatenate([own, small(new.frames[len(own) :])])
    shown = Segment(extension.shown(span), whole)
    assert (thumbnail, fragment) == writer.encode(shown, 24, index, part.num_frames, True)


def small(frames):
    from longtake.models.video.frames import to_uint8, upscale

    return to_uint8(upscale(frames, 30, 32))
