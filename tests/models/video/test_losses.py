"""Files that lost something: the frames that are left come at their times, and a line says what is known."""

import io
from fractions import Fraction

import pytest

from longtake.models.video.losses import gaps, lengths_hold
from longtake.models.video.reader import VideoReader
from tests.support.videos import levels, noise, places, video, which, without


def _read(data):
    with VideoReader(data if isinstance(data, io.BytesIO) else io.BytesIO(data)) as reader:
        return list(reader.frames()), reader


@pytest.mark.report("C21")
@pytest.mark.parametrize(
    ("container", "codec", "muxer"),
    [("avi", "mpeg4", {}), ("avi", "mjpeg", {}), ("mxf", "mpeg2video", {}), ("mov", "libx264", {"moov_size": "8000"})],
)
def test_less_than_half_a_second_lost_at_the_end_is_counted(container, codec, muxer):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = video(noise(48), container, codec, pix_fmt, rate=25, muxer=muxer)
    frames, reader = _read(whole.getvalue()[: places(whole)[44]])
    assert len(frames) == 44 and reader.notes == ["frames are missing: 4 of the 48 of its header"]
    assert _read(whole)[1].notes == []


@pytest.mark.report("C21")
@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libx264"])
def test_frames_that_an_avi_lost_in_the_middle_are_counted(codec):
    whole = video(noise(48), "avi", codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", rate=25)
    data, at = whole.getvalue(), places(whole)
    for rest in (data[: at[20]] + data[at[23] :], data[: at[20]] + bytes(at[23] - at[20]) + data[at[23] :]):
        assert any(note.startswith("frames are missing: ") for note in _read(rest)[1].notes)


@pytest.mark.report("C2")
def test_frames_that_an_avi_holds_are_not_missing():
    held = without(video(levels(30), "avi", "mpeg4", rate=25), "avi", [10, 11, 12])
    frames, reader = _read(held)
    assert which(frames)[9:14] == [9, 9, 9, 9, 13]
    assert reader.notes == ["its frame rate varies: at 25 fps, repeated frames 3, dropped 0 of 27"]


@pytest.mark.report("C2")
@pytest.mark.parametrize(("container", "codec"), [("matroska", "libx264"), ("mpegts", "mpeg2video"), ("nut", "mpeg4")])
def test_a_gap_between_frames_whose_lengths_are_known_is_named(container, codec):
    options = {"bf": "0", "g": "10"}
    holed = without(video(levels(30), container, codec, rate=25, options=options), container, [7, 8, 9])
    frames, reader = _read(holed)
    assert (len(frames), reader.fps) == (30, 25) and which(frames)[6:11] == [6, 6, 6, 6, 10]
    assert reader.notes == [
        "its frame rate varies: at 25 fps, repeated frames 3, dropped 0 of 27",
        "frames seem to be missing: about 3, gaps 1",
    ]


def test_lengths_that_are_guessed_tell_nothing_of_gaps():
    times = [0.0, 0.033, 0.1, 0.4, 0.433, 0.5]
    assert not lengths_hold(times, [0.033] * 6) and gaps(times, [0.033] * 6) == []
    assert gaps([i / 25 for i in range(30)], [0.04] * 30) == []
    assert gaps([0.0, None, 0.08, 4000.0], [0.04] * 4) == []
    assert gaps([i / 25 for i in (0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 10)], [0.04] * 11) == []  # one is only misplaced


@pytest.mark.report("C21")
def test_a_transport_stream_that_lost_packets_says_so():
    whole = video(noise(48), "mpegts", "mpeg2video", rate=25, options={"g": "6"})
    data, at = whole.getvalue(), places(whole)
    _, reader = _read(data[: at[20]] + data[at[23] :])
    assert "its packets break off: 1 incomplete, frames may be missing or damaged" in reader.notes
    assert _read(whole)[1].notes == []


@pytest.mark.report("C21")
@pytest.mark.parametrize(
    ("container", "codec"), [("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("matroska", "libx264")]
)
def test_a_recording_that_begins_between_two_key_frames_says_what_could_not_be_decoded(container, codec):
    options = {"g": "12", "bf": "2"}
    late = without(video(levels(30), container, codec, rate=25, options=options), container, range(5))
    frames, reader = _read(late)
    assert reader.notes == [f"some packets gave no frame: {25 - len(frames)}, they may need others that are not there"]
    assert reader.fps == 25 and len(frames) < 25


@pytest.mark.report("C21")
def test_a_frame_that_the_decoder_loses_where_the_size_changes_is_counted():
    parts = [video(frames, "mpeg", "mpeg2video", rate=25).getvalue() for frames in (levels(10), levels(10, 64, 96))]
    frames, reader = _read(b"".join(parts))
    assert len(frames) == 19 and any(note.startswith("some packets gave no frame: 1,") for note in reader.notes)


@pytest.mark.report("C1")
@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("flv", "flv"), ("asf", "wmv2"), ("apng", "apng")]
)
def test_a_second_file_in_a_file_is_left_out_with_a_line(container, codec):
    part = video(levels(10), container, codec, "rgb24" if codec == "apng" else "yuv420p", rate=25).getvalue()
    frames, reader = _read(part + part)
    assert which(frames) == list(range(10))
    assert reader.notes == ["another file is joined to its end: left out"]
    assert _read(part)[1].notes == [] == _read(part + bytes(5000))[1].notes


@pytest.mark.report("C2")
@pytest.mark.parametrize(("codec", "rate"), [("mpeg2video", Fraction(25)), ("libx264", Fraction(30000, 1001))])
def test_a_program_stream_whose_frames_get_the_time_of_the_next_packet_keeps_every_frame(codec, rate):
    frames, reader = _read(video(noise(48), "vob", codec, rate=rate, options={"g": "6"} if rate == 25 else {}))
    assert (len(frames), reader.fps, reader.keeps_clock) == (48, rate, True)
    assert reader.notes[-1].startswith("some frames share a timestamp")
    assert not any("varies" in note or "missing" in note for note in reader.notes)


@pytest.mark.report("C1")
@pytest.mark.parametrize("rate", [12, 50])
def test_h264_of_a_program_stream_has_the_rate_of_its_codec(rate):
    frames, reader = _read(video(levels(30), "vob", rate=rate))
    assert which(frames) == list(range(30)) and reader.fps == rate
    assert reader.notes == [f"its frames have no timestamps: {rate} fps assumed"]


@pytest.mark.report("C1")
def test_a_stream_that_begins_in_the_middle_is_left_out_with_a_line():
    """Two recordings in one file, the second one under another number, behind what FFmpeg looks at first."""
    long = video(noise(12, 240, 320), "mpegts", "mpeg2video", rate=25, options={"qmin": "1", "qmax": "1"}).getvalue()
    other = video(levels(10), "mpegts", "mpeg2video", rate=25, muxer={"mpegts_start_pid": "0x200"}).getvalue()
    times = 6_000_000 // len(long) + 1
    frames, reader = _read(long * times + other + long)
    assert len(frames) == 12 * (times + 1) and "other streams begin in the middle: left out" in reader.notes


@pytest.mark.report("C21")
@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libx264"), ("webm", "libvpx"), ("flv", "flv")],
)
def test_a_file_that_lost_a_third_of_a_second_says_so(container, codec):
    whole = video(noise(48), container, codec, rate=25)
    frames, reader = _read(whole.getvalue()[: places(whole)[40]])
    assert len(frames) == 40 and reader.notes == ["it ends early: after 1.6 s, but its header says 1.9 s"]
    slow = video(levels(6), container, codec, rate=1)
    assert _read(slow)[1].notes == [] == _read(without(slow, container, []))[1].notes


@pytest.mark.parametrize("kept", [40, 10])
def test_an_asf_file_is_told_from_its_header_that_it_was_cut(kept):
    """Its packets hold parts of several frames."""
    whole = video(noise(48), "asf", "wmv2", rate=25)
    frames, reader = _read(whole.getvalue()[: places(whole)[kept]])
    assert kept - 4 < len(frames) < kept
    assert reader.notes[-1] == f"it ends early: after {len(frames) / 25:.1f} s, but its header says 1.9 s"
    assert _read(whole)[1].notes == []
