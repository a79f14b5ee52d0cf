import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.video.mp4 import Mp4Encoder
from longtake.pipelines.runners.video_source import VideoInfo, VideoSource, pad_last, probe_video

SPEC = PromptSpec("v", "a red circle")


def _levels(num_frames: int, h: int = 16, w: int = 16) -> np.ndarray:
    """Frame i is plain grey of level 8 i: it differs from its neighbours after any codec."""
    return np.broadcast_to(
        (8 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None], (num_frames, h, w, 3)
    ).copy()


def _which(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 8) for frame in frames]


def _mp4(path: Path, num_frames: int, fps: float = 8, h: int = 16, w: int = 16) -> Path:
    encoder = Mp4Encoder(fps, w, h)
    path.write_bytes(encoder.encode(_levels(num_frames, h, w)))
    return path


def _other(path: Path, codec: str, pix_fmt: str, frames: np.ndarray, rotation: int = 0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25, 2))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _song(path: Path) -> Path:
    with wave.open(str(path), "wb") as song:
        song.setnchannels(1)
        song.setsampwidth(2)
        song.setframerate(8000)
        song.writeframes(bytes(16000))
    return path


def _chunks(source: VideoSource, num_frames: int, order: list[int] | None = None) -> dict[int, list[int]]:
    plan = Plan(num_frames, PlanParams())
    found = {}
    for index in order or range(len(plan.chunks)):
        memory, chunk = source.advance(SPEC, plan, index, None)
        assert memory is None and chunk.span == plan.chunks[index]
        found[index] = _which(chunk.frames)
    return found


def _expected(num_frames: int, length: int) -> dict[int, list[int]]:
    return {i: [min(f, length - 1) for f in span] for i, span in enumerate(Plan(num_frames, PlanParams()).chunks)}


@pytest.mark.parametrize("length", [1, 5, 16, 17, 24, 30])
def test_the_chunks_are_the_video_and_then_its_last_frame(tmp_path, length):
    source = VideoSource(_mp4(tmp_path / "in.mp4", length))
    assert _chunks(source, length) == _expected(length, length)


def test_chunks_far_past_the_end_are_the_last_frame(tmp_path):
    assert _chunks(VideoSource(_mp4(tmp_path / "in.mp4", 10)), 60) == _expected(60, 10)


def test_any_order_of_chunks_gives_the_same_frames(tmp_path):
    source = VideoSource(_mp4(tmp_path / "in.mp4", 30))
    order = [2, 2, 0, 3, 1, 0]
    assert _chunks(source, 30, order) == {i: _expected(30, 30)[i] for i in order}


def test_another_source_of_the_same_file_gives_the_same_frames_from_the_middle(tmp_path):
    path = _mp4(tmp_path / "in.mp4", 30)
    assert _chunks(VideoSource(path), 30, [2]) == {2: _expected(30, 30)[2]}


def test_a_video_in_order_is_opened_once(tmp_path, monkeypatch):
    opened = []
    real = av.open
    source = VideoSource(_mp4(tmp_path / "in.mp4", 30))
    monkeypatch.setattr(
        "longtake.pipelines.runners.video_source.av.open", lambda *args: opened.append(args) or real(*args)
    )
    _chunks(source, 30)
    assert len(opened) == 1


def test_probe_finds_length_rate_and_size(tmp_path):
    assert probe_video(_mp4(tmp_path / "in.mp4", 30, 12.5, h=32, w=48)) == VideoInfo(30, Fraction(25, 2), 48, 32)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
        ("a.mov", "mjpeg", "yuvj422p"),
        ("a.nut", "rawvideo", "rgb24"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.mkv", "ffv1", "yuv420p10le"),
    ],
)
def test_other_codecs_and_containers_and_odd_sizes_are_read(tmp_path, name, codec, pix_fmt):
    w = 33 if codec in ("ffv1", "rawvideo") and pix_fmt != "yuv420p10le" else 32
    path = _other(tmp_path / name, codec, pix_fmt, _levels(20, 24, w))
    info = probe_video(path)
    assert (info.num_frames, info.width, info.height) == (20, w, 24)
    assert _chunks(VideoSource(path), 20) == _expected(20, 20)


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(_levels(6, 720, 8)[5]).save(tmp_path / "a.png")
    info = probe_video(tmp_path / "a.png")
    assert (info.num_frames, info.width, info.height) == (1, 8, 720)
    _, chunk = VideoSource(tmp_path / "a.png").advance(SPEC, Plan(1, PlanParams()), 0, None)
    assert (chunk.frames == 40).all()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_video_that_was_filmed_sideways_is_turned_upright(tmp_path, rotation):
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :8, :16] = 255  # the upper left quarter is white
    path = _other(tmp_path / "a.mov", "mjpeg", "yuvj420p", frames, rotation)
    upright = np.rot90(frames[0], rotation // 90)  # the tag means: turn it counterclockwise by this angle
    assert probe_video(path).height == upright.shape[0]
    _, chunk = VideoSource(path).advance(SPEC, Plan(3, PlanParams()), 0, None)
    assert np.abs(chunk.frames[0].astype(int) - upright).mean() < 8


def test_a_file_that_was_cut_short_has_the_frames_that_decode(tmp_path):
    path = _other(tmp_path / "in.avi", "mpeg4", "yuv420p", _noise(30))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    info = probe_video(path)
    assert 10 < info.num_frames < 30
    assert len(_chunks(VideoSource(path), info.num_frames)) > 0


def test_damage_in_the_middle_is_left_out_with_a_warning(tmp_path, caplog):
    path = _other(tmp_path / "in.mov", "png", "rgb24", _noise(20))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 16_000] = bytes(16_000)  # a frame of noise has 12 kB
    path.write_bytes(data)
    info = probe_video(path)
    assert 17 <= info.num_frames < 20
    assert "skipped damaged parts" in caplog.text and str(path) in caplog.text


def _noise(num_frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, 64, 64, 3), dtype=np.uint8)


def _bad(folder: Path) -> dict[str, Path]:
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "half.mp4").write_bytes(_mp4(folder / "ok.mp4", 8).read_bytes()[:300])
    (folder / "folder.mp4").mkdir()
    return {
        "missing": folder / "none.mp4",
        "folder": folder / "folder.mp4",
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "half a header": folder / "half.mp4",
        "audio only": _song(folder / "song.wav"),
    }


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "half a header", "audio only"])
def test_what_is_no_video_is_named_with_the_reason(tmp_path, kind):
    path = _bad(tmp_path)[kind]
    reasons = {"missing": "No such file", "audio only": "no video stream"}
    for read in (probe_video, lambda p: VideoSource(p).advance(SPEC, Plan(8, PlanParams()), 0, None)):
        with pytest.raises(ValueError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert reasons.get(kind, "") in str(caught.value)


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
