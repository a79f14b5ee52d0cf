import io
from fractions import Fraction

import av
import numpy as np
import pytest

from longtake.models.video.mp4 import Mp4Encoder, plain
from longtake.models.video.reader import Bounds, VideoReader
from longtake.models.video.sound import Sound
from tests.support.places import REPORTS
from tests.support.videos import levels, loud_from, video


def _joined(reader, sound, num_frames=None):
    """The mp4 that gets this sound, with black frames in place of the video's own."""
    encoder = Mp4Encoder(reader.fps, 16, 16)
    return plain([encoder.encode(np.zeros((num_frames or reader.num_frames, 16, 16, 3), np.uint8))], sound)


def _streams(data):
    with av.open(io.BytesIO(data)) as container:
        return {stream.type: stream.codec.canonical_name for stream in container.streams}


def _packets(data, kind):
    with av.open(io.BytesIO(data)) as container:
        (stream,) = getattr(container.streams, kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.report("C4")
def test_the_sound_of_a_video_goes_along_byte_by_byte():
    source = (REPORTS / "with_audio.mp4").read_bytes()
    reader = VideoReader(io.BytesIO(source))
    sound = Sound(reader, reader.fps)
    data = _joined(reader, sound)
    assert _packets(data, "audio") == _packets(source, "audio") and sound.notes == []
    assert data[4:8] == b"ftyp" and data.index(b"moov") < data.index(b"mdat")


@pytest.mark.report("C4")
@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("mp4", "aac", 44100), ("webm", "libopus", 48000), ("mp4", "libmp3lame", 44100), ("mpegts", "ac3", 48000)],
)
def test_what_players_of_mp4_take_stays_as_it_is_and_in_time(container, codec, rate):
    vcodec = {"webm": "libvpx", "mpegts": "mpeg2video"}.get(container, "libx264")
    reader = VideoReader(video(levels(24), container, vcodec, sound=(codec, rate)))
    sound = Sound(reader, reader.fps)
    data = _joined(reader, sound)
    assert abs(loud_from(data) - 0.5) < 0.03 and sound.notes == []
    assert _streams(data) == {"video": "h264", "audio": codec.removeprefix("lib").removesuffix("lame")}


@pytest.mark.report("C4")
@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("mov", "pcm_s16le", 44100),
        ("avi", "pcm_s16le", 8000),
        ("matroska", "pcm_s24le", 96000),
        ("matroska", "mp2", 48000),
        ("mpegts", "mp2", 48000),  # its decoder gives another format than the header has
    ],
)
def test_other_sound_becomes_aac_in_time_and_is_named(container, codec, rate):
    vcodec = {"avi": "mpeg4", "mpegts": "mpeg2video"}.get(container, "libx264")
    reader = VideoReader(video(levels(24), container, vcodec, sound=(codec, rate)))
    sound = Sound(reader, reader.fps)
    data = _joined(reader, sound)
    assert _streams(data) == {"video": "h264", "audio": "aac"} and abs(loud_from(data) - 0.5) < 0.06
    assert sound.notes == [f"its sound is converted to AAC: {codec} is not for mp4"]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_time_0_is_the_first_frame_of_the_video(codec):
    late = [300 + round(1000 * i / 24) for i in range(16)]
    reader = VideoReader(video(levels(16), times_ms=late, sound=(codec, 44100)))
    sound = Sound(reader, reader.fps)
    assert reader.start_s == pytest.approx(0.3, abs=0.001)
    assert sound.notes[0] == "its sound before the first frame is left out: 0.3 s"
    assert loud_from(_joined(reader, sound)) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_ends_as_in_the_input_or_with_the_frames_that_are_there(codec):
    reader = VideoReader(video(levels(18), sound=(codec, 44100)))
    for num_frames, seconds in ((18, 1.0), (12, 0.5)):
        with av.open(io.BytesIO(_joined(reader, Sound(reader, reader.fps), num_frames))) as container:
            (stream,) = container.streams.audio
            assert float(stream.duration * stream.time_base) == pytest.approx(seconds, abs=0.03)


def late_sound(seconds):
    """A second of frames; after the first packet of its sound there are so many seconds without any."""
    out, source, heard = io.BytesIO(), video(levels(24), sound=("pcm_s16le", 8000)), 0
    with av.open(source) as read, av.open(out, "w", "matroska") as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in read.streams}
        for packet in (packet for packet in read.demux() if packet.size):
            packet.stream = streams[packet.stream_index]
            if packet.stream.type == "audio":
                packet.pts = packet.dts = packet.pts + (round(seconds / packet.time_base) if heard else 0)
                heard += 1
            made.mux(packet)
    return io.BytesIO(out.getvalue())


def test_before_new_frames_sound_ends_with_them_whatever_its_packets_claim():
    reader = VideoReader(late_sound(1000))
    with Sound(reader, reader.fps).tracks(2.0) as tracks:
        assert [track.length_s <= 2.0 for track in tracks] == [True]
    with av.open(io.BytesIO(_joined(reader, Sound(reader, reader.fps), 48))) as container:
        (stream,) = container.streams.audio
        assert float(stream.duration * stream.time_base) <= 2.03


def test_the_sound_of_a_strangers_video_is_bounded():
    bounds, packets = Bounds(24, 10_000), Bounds(24, 10_000, max_packets=24)
    assert VideoReader(late_sound(3000), bounds).num_frames == 24
    with pytest.raises(ValueError, match=r"^its sound ends after 400[01] s, and may last 3600 s$"):
        VideoReader(late_sound(4000), bounds)
    with pytest.raises(ValueError, match="^it has more than 24 packets$"):
        VideoReader(late_sound(0), packets)
    assert VideoReader(video(levels(24)), packets).num_frames == 24


@pytest.mark.report("C4")
def test_at_another_rate_the_sound_is_left_out_with_one_line():
    reader = VideoReader(REPORTS / "with_audio.mp4")
    sound = Sound(reader, 12)
    assert sound.notes == ["its sound is left out: aac, because the output is not at its 24 fps"]
    assert _streams(_joined(reader, sound)) == {"video": "h264"}
    assert Sound(reader, 24.0).notes == Sound(reader, Fraction(24)).notes == []


def test_without_a_clock_the_sound_is_left_out_with_one_line():
    part = video(levels(10), "mpegts", "mpeg2video", rate=25, sound=("ac3", 48000)).getvalue()
    reader = VideoReader(io.BytesIO(part + part))
    assert Sound(reader, reader.fps).notes == [
        "its sound is left out: ac3, because the times of its frames are unknown"
    ]


def test_sound_follows_a_variable_rate_as_the_frames_do():
    reader = VideoReader(video(levels(6), times_ms=[0, 33, 66, 500, 533, 900], sound=("aac", 44100)))
    assert loud_from(_joined(reader, Sound(reader, reader.fps))) == pytest.approx(0.5, abs=0.03)


@pytest.mark.report("C4")
def test_what_else_is_in_the_file_is_named():
    file, words = io.BytesIO(), io.BytesIO(b"1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with (
        av.open(video(levels(4))) as frames,
        av.open(words, format="srt") as lines,
        av.open(file, "w", "matroska") as out,
    ):
        out.set_chapters([{"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 1000), "metadata": {}}])
        streams = [(source, source.streams[0]) for source in (frames, lines)]
        made = [out.add_stream_from_template(stream) for _, stream in streams]
        for (source, stream), own in zip(streams, made, strict=True):
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = own
                    out.mux(packet)
    reader = VideoReader(file)
    assert Sound(reader, reader.fps).notes == ["not in the output: 1 subtitle stream, 1 chapter"]


def test_a_video_without_sound_has_no_note_and_the_same_bytes():
    reader = VideoReader(video(levels(4)))
    sound = Sound(reader, reader.fps)
    assert sound.notes == [] and _joined(reader, sound) == _joined(reader, None)


@pytest.mark.report("C4")
def test_a_broadcast_may_change_its_sound():
    parts = [
        video(levels(25), "mpegts", "mpeg2video", rate=25, sound=("mp2", rate), muxer={"output_ts_offset": begin})
        for rate, begin in ((48000, "0"), (44100, "1.04"))
    ]
    reader = VideoReader(io.BytesIO(b"".join(part.getvalue() for part in parts)))
    data = _joined(reader, Sound(reader, reader.fps))
    with av.open(io.BytesIO(data)) as container:
        (stream,) = container.streams.audio
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.06)
    assert reader.num_frames == 50 and loud_from(data) == pytest.approx(0.5, abs=0.06)


@pytest.mark.report("C4")
def test_channels_that_are_mixed_are_named():
    reader = VideoReader(video(levels(24), sound=("pcm_s16le", 48000), layout="7.1"))
    sound = Sound(reader, reader.fps)
    assert sound.notes[1:] == ["its sound is mixed down to stereo: pcm_s16le of 8 channels"]
    assert abs(loud_from(_joined(reader, sound)) - 0.5) < 0.06
