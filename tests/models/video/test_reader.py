import io
import os
import shutil
import time
import weakref

import av
import pytest
from PIL import Image

from longtake.models.video.reader import Bounds, VideoReader
from tests.support.places import REPORTS
from tests.support.videos import levels, noise, video, which


def _read(source):
    with VideoReader(source) as reader:
        frames = list(reader.frames())
        assert len(frames) == reader.num_frames
        assert {frame.shape for frame in frames} == {(reader.height, reader.width, 3)}
        return frames, reader


# Time


@pytest.mark.report("C1")
def test_the_recording_of_a_browser_lasts_as_long_as_its_timestamps_say():
    frames, reader = _read(REPORTS / "screen_recorder.webm")
    assert abs(len(frames) / reader.fps - 23.8) <= 1 and reader.fps < 31
    assert "its frame rate varies" in reader.notes[0]


@pytest.mark.report("C2")
def test_a_frame_of_a_variable_rate_stands_within_one_frame_of_its_time():
    times = [*range(0, 330, 33), 960, *range(1500, 1800, 33), 5000]
    frames, reader = _read(video(levels(len(times)), times_ms=times))
    shown = which(frames)
    assert all(abs(shown.index(i) / reader.fps - time / 1000) <= 1 / reader.fps for i, time in enumerate(times))
    assert shown == sorted(shown) and len(reader.notes) == 1
    frames, reader = _read(REPORTS / "screen_vfr.mp4")
    assert abs(len(frames) / reader.fps - 6.03) < 0.05


@pytest.mark.parametrize("container", ["matroska", "mov", "avi", "mpegts", "flv", "nut"])
def test_a_constant_rate_is_kept_frame_by_frame(container):
    codec = {"avi": "mpeg4", "mpegts": "mpeg2video", "flv": "flv"}.get(container, "libx264")
    frames, reader = _read(video(levels(20), container, codec, rate=25))
    assert which(frames) == list(range(20)) and reader.fps == 25 and reader.notes == []


@pytest.mark.report("C1")
def test_the_delays_of_an_animated_picture_count_the_last_one_too():
    pictures = [Image.fromarray(frame) for frame in levels(4)]
    for kind in ("gif", "png"):
        file = io.BytesIO()
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=[100, 300, 100, 2000])
        frames, reader = _read(file)
        assert reader.fps == 10 and which(frames) == [0, 1, 1, 1, 2, *[3] * 20]


@pytest.mark.report("C1")
@pytest.mark.parametrize(("delay", "fps"), [(1, 10), (2, 50), (5, 20)])
def test_delays_that_no_browser_shows_are_those_of_browsers(delay, fps):
    data = bytearray(_gif(4))
    for at in [at for at in range(len(data)) if data[at : at + 3] == b"\x21\xf9\x04"]:
        data[at + 4 : at + 6] = bytes([delay, 0])
    frames, reader = _read(io.BytesIO(data))
    assert reader.fps == fps and which(frames) == [0, 1, 2, 3]
    slowed = "its delays are too short: 4 of 4 frames shown for 0.1 s, as in browsers"
    assert reader.notes == ([slowed] if delay == 1 else [])


def _gif(count):
    pictures = [Image.fromarray(frame) for frame in levels(count)]
    file = io.BytesIO()
    pictures[0].save(file, "gif", save_all=True, append_images=pictures[1:], duration=100)
    return file.getvalue()


@pytest.mark.report("C1")
def test_a_raw_stream_has_the_rate_of_its_header_and_says_so():
    _, reader = _read(video(levels(20), "h264", "libx264", rate=50))
    assert (reader.fps, reader.num_frames) == (50, 20) and reader.notes == [
        "its frames have no timestamps: 50 fps assumed"
    ]


@pytest.mark.report("C1")
@pytest.mark.parametrize(
    ("format", "codec", "pix_fmt", "options"),
    [
        ("mjpeg", "mjpeg", "yuvj420p", {}),
        ("obu", "libsvtav1", "yuv420p", {}),
        ("dnxhd", "dnxhd", "yuv422p", {"profile": "dnxhr_lb"}),
    ],
)
def test_a_raw_stream_without_any_rate_says_which_one_is_assumed(format, codec, pix_fmt, options):
    _, reader = _read(video(levels(3, 128, 256), format, codec, pix_fmt, rate=50, options=options))
    assert (reader.fps, reader.notes) == (25, ["it has no frame rate: 25 fps assumed"])


def test_a_stream_without_times_is_read_at_25_frames_per_second_and_says_so():
    frames, reader = _read(video(levels(9), "h264", rate=25))
    assert which(frames) == list(range(9)) and reader.fps == 25
    assert reader.notes == ["its frames have no timestamps: 25 fps assumed"]


def test_two_recordings_in_one_file_are_joined():
    part = video(levels(10), "mpegts", "mpeg2video", rate=25).getvalue()
    frames, reader = _read(io.BytesIO(part + part))
    assert which(frames) == [*range(10), *range(10)] and reader.notes[0].startswith("its clock jumps")
    assert not reader.keeps_clock


def test_an_animation_that_begins_with_a_still_picture_is_read(tmp_path):
    pictures = [Image.fromarray(frame) for frame in levels(4, 64, 64)]
    pictures[0].save(tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=100)
    frames, reader = _read(tmp_path / "a.avif")
    assert which(frames) == [0, 1, 2, 3] and reader.notes == ["it has other video streams: 1 left out"]


# Names


@pytest.mark.report("C3")
@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "http:a.mkv",
        "2022-01-26T20:57:04Z.mkv",
        "%03d.png",
        "a.png",
        "-v.mkv",
        "concat:a|b.mkv",
        "a\nb.mkv",
        b"\xff\xfe.mkv",
        "x",
    ],
)
def test_a_name_is_only_a_name(tmp_path, monkeypatch, name, here):
    name = os.fsdecode(name)
    (tmp_path / name).write_bytes(video(levels(3)).getvalue())
    monkeypatch.chdir(tmp_path)
    frames, _ = _read(name if here else tmp_path / name)
    assert which(frames) == [0, 1, 2]


@pytest.mark.report("C3")
def test_a_numbered_picture_is_one_picture(tmp_path):
    for i, frame in enumerate(levels(3)):
        Image.fromarray(frame).save(tmp_path / f"{i:03d}.png")
    shutil.copy(tmp_path / "002.png", tmp_path / "%03d.png")
    assert which(_read(tmp_path / "%03d.png")[0]) == [2]


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"],
)
def test_a_playlist_is_no_video_and_what_it_names_is_not_opened(tmp_path, text):
    (tmp_path / "other.mkv").write_bytes(video(levels(3)).getvalue())
    for target in (tmp_path / "other.mkv", "http://127.0.0.1:9/a.ts"):
        (tmp_path / "list.m3u8").write_text(text.format(target))
        with pytest.raises(ValueError, match=r"list\.m3u8: cannot be read as a video"):
            VideoReader(tmp_path / "list.m3u8")


@pytest.mark.report("C15")
def test_a_description_of_a_session_opens_no_socket(tmp_path):
    session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    (tmp_path / "a.sdp").write_text(f"{session}m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"a\.sdp: cannot be read as a video"):
        VideoReader(tmp_path / "a.sdp")
    assert time.monotonic() - began < 5


def test_the_file_of_a_caller_stays_open_and_one_that_was_opened_here_is_closed(tmp_path):
    file = video(levels(3))
    _read(file)
    assert not file.closed
    (tmp_path / "a.mkv").write_bytes(file.getvalue())
    before = os.listdir("/proc/self/fd")
    with VideoReader(tmp_path / "a.mkv") as reader:
        next(reader.frames())
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.report("C15")
def test_a_pipe_is_refused_before_anybody_writes_to_it(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4: it is a pipe or a device, and a video is read twice"):
        VideoReader(tmp_path / "a.mp4")


def test_what_cannot_seek_is_refused():
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ValueError, match="not seekable"), os.fdopen(reading, "rb") as file:
        VideoReader(file)


# Damage


@pytest.mark.report("C21")
@pytest.mark.parametrize("container", ["mov", "matroska", "webm", "avi", "flv"])
def test_a_file_that_was_cut_has_the_frames_that_decode_and_says_so(container):
    codec = {"webm": "libvpx", "avi": "mpeg4", "flv": "flv"}.get(container, "libx264")
    muxer = {"movflags": "faststart"} if container == "mov" else None
    options = {"moov_size": "8000"} if container == "mov" else muxer
    data = video(noise(48), container, codec, muxer=options).getvalue()
    frames, reader = _read(io.BytesIO(data[: len(data) * 2 // 3]))
    assert 20 < len(frames) < 40
    assert any(note.startswith(("it ends early", "it is damaged")) for note in reader.notes)
    assert _read(io.BytesIO(data))[1].notes == []


@pytest.mark.report("C21")
@pytest.mark.parametrize(("container", "codec"), [("avi", "mpeg4"), ("mxf", "mpeg2video")])
def test_a_file_that_was_cut_between_two_frames_says_so(container, codec):
    data = video(noise(48), container, codec, rate=25).getvalue()
    with av.open(io.BytesIO(data)) as whole:
        places = [packet.pos for packet in whole.demux(video=0) if packet.size]
    frames, reader = _read(io.BytesIO(data[: places[20]]))
    assert 15 < len(frames) <= 20 and any("its header says 1.9 s" in note for note in reader.notes)


@pytest.mark.report("C21")
def test_damage_in_the_middle_is_left_out_and_its_time_is_kept():
    data = bytearray(video(noise(20), "mov", "png", "rgb24").getvalue())
    middle = len(data) // 2
    data[middle : middle + 16_000] = bytes(16_000)  # a frame of noise has 12 kB
    frames, reader = _read(io.BytesIO(bytes(data)))
    assert len(frames) == 20 and reader.fps == 24
    assert reader.notes[0].startswith("it is damaged: parts left out ")
    assert "repeated frames" in reader.notes[1]


@pytest.mark.parametrize("data", [b"this is no video\n" * 50, bytes(5000)])
def test_without_any_frame_there_is_one_clear_error(data, tmp_path):
    (tmp_path / "a.mp4").write_bytes(data)
    for source, name in ((tmp_path / "a.mp4", str(tmp_path / "a.mp4")), (io.BytesIO(data), "")):
        with pytest.raises(ValueError) as caught:
            VideoReader(source)
        assert str(caught.value).startswith(name) and "\n" not in str(caught.value)
        assert "cannot be read" in str(caught.value) or "no frame can be decoded" in str(caught.value)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "a.mkv"
    path.write_bytes(video(noise(24)).getvalue())
    reader = VideoReader(path)
    path.write_bytes(video(noise(12)).getvalue())
    with pytest.raises(ValueError, match="it changed while it was read"):
        list(reader.frames())


def test_a_codec_that_nobody_knows_is_an_error():
    data = video(levels(3), "mov").getvalue().replace(b"avc1", b"zzz9")
    with pytest.raises(ValueError, match="no decoder is known for its video stream"):
        VideoReader(io.BytesIO(data))


def test_sound_alone_is_no_video():
    with pytest.raises(ValueError, match=r"song\.mp4: it has no video stream"):
        VideoReader(REPORTS / "clips" / "song.mp4")


@pytest.mark.report("C15")
@pytest.mark.parametrize("name", ["anim.apng", "dvd.vob", "old.wmv", "one_frame.mp4", "phone.3gp"])
def test_any_container_is_read(name):
    frames, reader = _read(REPORTS / "clips" / name)
    assert (len(frames), reader.fps, reader.notes) == (1 if name == "one_frame.mp4" else 12, 12, [])


def test_pictures_are_not_kept():
    seen = []
    for frame in VideoReader(video(levels(30))).frames():
        seen.append(weakref.ref(frame))
        assert sum(one() is not None for one in seen) <= 2


def test_an_empty_file_is_empty(tmp_path):
    (tmp_path / "a.mp4").touch()
    for source, name in ((tmp_path / "a.mp4", rf"{tmp_path}/a.mp4: "), (io.BytesIO(), "")):
        with pytest.raises(ValueError, match=f"^{name}it is empty$"):
            VideoReader(source)


# Bounds


def test_a_video_beyond_its_bounds_is_refused_before_all_of_it_is_decoded():
    for frames, bounds, says in (
        (levels(11), Bounds(10, 10_000), "^it has more than 10 frames$"),
        (levels(4, 64, 64), Bounds(10, 64 * 63), "^its frames are 64x64, and may have 4032 pixels$"),
    ):
        with pytest.raises(ValueError, match=says):
            VideoReader(video(frames), bounds)
    held = video(levels(2), times_ms=[0, 100_000])  # two frames, the first of them for minutes
    with pytest.raises(ValueError, match="^it has more than 10 frames$"):
        VideoReader(held, Bounds(10, 10_000))
    assert VideoReader(video(levels(10)), Bounds(10, 32 * 48)).num_frames == 10
