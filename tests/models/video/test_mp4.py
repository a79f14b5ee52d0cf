import hashlib
import io
import os
import platform
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import longtake.models.video.mp4
from longtake.models.video.mp4 import Mp4Encoder, decode, plain
from tests.support.places import ROOT

# Encodes the same moving picture in a process of its own and prints the digests of the plain and the fragmented file.
PROGRAM = """
import os, sys
cpus = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cpus[: int(sys.argv[1])])
import hashlib, numpy as np
from longtake.models.video.mp4 import Mp4Encoder, plain
ramp = np.arange(96 * 64 * 3).reshape(64, 96, 3)
frames = np.stack([(ramp * (t + 3) // 7 % 251 + t).astype(np.uint8) for t in range(32)])
encoder = Mp4Encoder(8, 96, 64)
fragments = [encoder.encode(frames[:16]), encoder.encode(frames[16:])]
for data in (plain(fragments), b"".join(fragments)):
    print(hashlib.sha256(data).hexdigest())
"""


def _movie(t: int, h: int, w: int) -> np.ndarray:
    """A soft-edged disc moves over a gradient that drifts: edges, smooth shades, and no two frames alike."""
    y, x = np.mgrid[:h, :w]
    frames = np.empty((t, h, w, 3))
    for i in range(t):
        disc = np.clip(h * 0.22 + 0.5 - np.hypot(x - w * (0.2 + 0.6 * i / max(t, 20)), y - h / 2), 0, 1)[..., None]
        waves = 20 * np.sin(x / 9 + i / 5)
        back = np.stack([40 + 60 * y / h, 60 + waves, 110 + 60 * x / w], axis=-1)
        frames[i] = disc * (210, 60, 50) + (1 - disc) * back
    return frames.round().astype(np.uint8)


def _encode(frames: np.ndarray, sizes: list[int], fragmented: bool, fps: float | Fraction = 8) -> list[bytes]:
    encoder = Mp4Encoder(fps, width=frames.shape[2], height=frames.shape[1])
    stops = np.cumsum(sizes)
    pieces = [encoder.encode(frames[stop - size : stop]) for size, stop in zip(sizes, stops, strict=True)]
    return pieces if fragmented else [plain(pieces)]


def _decode(data: bytes) -> np.ndarray:
    return np.stack(list(decode(io.BytesIO(data))))


def _boxes(data: bytes) -> list[str]:
    names, at = [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4])
    assert at == len(data)
    return names


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("fragmented", [False, True])
def test_the_moving_picture_comes_back_at_37_decibels_or_more(fragmented):
    frames = _movie(80, 128, 128)
    assert _psnr(frames, _decode(b"".join(_encode(frames, [16] * 5, fragmented)))) >= 37  # measured: 38.1 and 38.2


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (20, 30, 90)])
def test_plain_colours_come_back_within_three_steps_of_255(rgb):
    frames = np.full((4, 32, 32, 3), rgb, np.uint8)
    assert np.abs(_decode(b"".join(_encode(frames, [4], False))).astype(int) - rgb).max() <= 3


def test_the_file_says_which_colours_it_means():
    data = b"".join(_encode(_movie(4, 32, 32), [4], False))
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
    assert tags == (1, 1, 1, 1)  # BT.709 three times, limited range
    assert b"colrnclx" in data


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda s: 1 <= sum(s) <= 100), plain=st.booleans()
)
def test_as_many_frames_come_out_as_went_in(sizes, plain):
    frames = _movie(sum(sizes), 16, 16)
    back = _decode(b"".join(_encode(frames, sizes, not plain)))
    assert len(back) == len(frames)
    assert _psnr(frames, back) > 28  # the right ones, in the right order


@pytest.mark.parametrize("num_frames", [1, 2, 100])
@pytest.mark.parametrize("fragmented", [False, True])
def test_the_shortest_and_a_long_video_are_whole(num_frames, fragmented):
    frames = _movie(num_frames, 16, 32)
    assert _decode(b"".join(_encode(frames, [num_frames], fragmented))).shape == frames.shape


def test_every_segment_is_one_fragment_returned_at_once():
    pieces = _encode(_movie(49, 32, 32), [16, 16, 16, 1], fragmented=True)
    assert [_boxes(piece) for piece in pieces] == [["ftyp", "moov", "moof", "mdat"], *[["moof", "mdat"]] * 3]


def test_any_prefix_of_the_fragments_plays():
    frames = _movie(40, 32, 32)
    pieces = _encode(frames, [16, 8, 1, 15], fragmented=True)
    for n, num_frames in enumerate((16, 24, 25, 40), 1):
        data = b"".join(pieces[:n])
        assert _psnr(frames[:num_frames], _decode(data)) > 30
        with av.open(io.BytesIO(data)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([i / 8 for i in range(num_frames)])


def test_a_fragment_depends_on_its_own_frames_and_place_alone():
    frames = _movie(32, 32, 32)
    other = np.concatenate([frames[:16] // 2, frames[16:]])
    assert _encode(frames, [16, 16], True)[1] == _encode(other, [16, 16], True)[1]


def test_a_plain_file_has_its_index_in_front():
    assert [box for box in _boxes(b"".join(_encode(_movie(30, 32, 32), [30], False))) if box != "free"] == [
        "ftyp",
        "moov",
        "mdat",
    ]


def test_the_index_fits_when_frames_are_large():
    noise = np.random.default_rng(0).integers(0, 256, (2, 720, 1280, 3), dtype=np.uint8)
    data = b"".join(_encode(noise, [2], False))
    assert len(data) > 1 << 20
    assert len(_decode(data)) == 2


@pytest.mark.parametrize("fragmented", [False, True])
@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (8, Fraction(8)),
        (30000 / 1001, Fraction(30000, 1001)),
        (Fraction(2997, 100), Fraction(2997, 100)),
        (Fraction(25, 2), Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_the_file_plays_at_the_frames_per_second_that_were_asked_for(fps, exact, fragmented):
    data = b"".join(_encode(_movie(24, 16, 16), [16, 8], fragmented, fps))
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact
        assert [frame.pts * stream.time_base for frame in container.decode(stream)] == [i / exact for i in range(24)]
        assert stream.duration * stream.time_base == 24 / exact


def test_the_bytes_depend_neither_on_the_run_nor_on_the_threads_of_the_machine():
    def digests(threads: str, cpus: str) -> str:
        env = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, cpus], env=env, check=True, capture_output=True, text=True
        ).stdout

    first = digests("1", "1")
    assert len(first.split()) == 2
    assert digests("1", "1") == first
    assert digests("2", "64") == first  # all that the machine has


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names instruction sets of x86")
@pytest.mark.parametrize("fragmented", [False, True])
def test_the_bytes_are_those_of_an_old_cpu(monkeypatch, fragmented):
    frames = _movie(32, 64, 64)
    here = b"".join(_encode(frames, [16, 16], fragmented))
    options = longtake.models.video.mp4.X264_OPTIONS
    old = {**options, "x264-params": options["x264-params"] + ":asm=SSSE3"}
    monkeypatch.setattr(longtake.models.video.mp4, "X264_OPTIONS", old)
    assert hashlib.sha256(b"".join(_encode(frames, [16, 16], fragmented))).digest() == hashlib.sha256(here).digest()


@pytest.mark.parametrize(
    ("width", "height", "named"), [(127, 128, "width=127"), (128, 127, "height=127"), (0, 2, "width=0")]
)
def test_an_odd_size_is_named_with_its_rule(width, height, named):
    with pytest.raises(ValueError, match=rf"{named}.*even"):
        Mp4Encoder(8, width, height)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 0.001])
def test_an_fps_that_no_player_has_is_refused(fps):
    with pytest.raises(ValueError, match="fps="):
        Mp4Encoder(fps, 16, 16)


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"must be \(t, 16, 32, 3\)"):
        Mp4Encoder(8, width=32, height=16).encode(_movie(1, 32, 16))


def test_no_frames_are_no_bytes():
    encoder = Mp4Encoder(8, 16, 16)
    assert encoder.encode(_movie(0, 16, 16)) == b"" and encoder.num_frames == 0
