"""Edges that a container cuts off are not shown, and a line says so."""

from fractions import Fraction

import numpy as np
import pytest

from longtake.models.video.reader import VideoReader
from tests.support.videos import levels, patches, video, which, with_aperture, with_pixel_crop


def _read(source):
    with VideoReader(source) as reader:
        frames = list(reader.frames())
        assert {frame.shape for frame in frames} == {(reader.height, reader.width, 3)}
        return frames, reader


def _framed(num_frames=3, left=8, right=4, top=6, bottom=2):
    """White in a black frame."""
    frames = np.zeros((num_frames, 64, 96, 3), np.uint8)
    frames[:, top : 64 - bottom, left : 96 - right] = 255
    return frames


@pytest.mark.report("C5")
@pytest.mark.parametrize(("codec", "pix_fmt", "entry"), [("libx264", "yuv420p", b"avc1"), ("png", "rgb24", b"png ")])
def test_a_clean_aperture_is_what_is_shown(codec, pix_fmt, entry):
    file = with_aperture(video(_framed(), "mov", codec, pix_fmt), entry, 84, 56, right=2, down=2)
    frames, reader = _read(file)
    assert (reader.width, reader.height) == (84, 56) and min(frame[2:-2, 2:-2].min() for frame in frames) > 240
    assert reader.notes == ["its container cuts off its edges: left 8, right 4, top 6, bottom 2"]


@pytest.mark.report("C5")
@pytest.mark.parametrize(("codec", "pix_fmt"), [("libx264", "yuv420p"), ("libvpx-vp9", "yuv420p"), ("ffv1", "bgra")])
def test_matroska_may_cut_off_black_bars(codec, pix_fmt):
    file = with_pixel_crop(video(_framed(), codec=codec, pix_fmt=pix_fmt), 8, 4, 6, 2)
    frames, reader = _read(file)
    assert (reader.width, reader.height) == (84, 56) and min(frame[2:-2, 2:-2].min() for frame in frames) > 240
    assert reader.notes == ["its container cuts off its edges: left 8, right 4, top 6, bottom 2"]


@pytest.mark.report("C5")
def test_edges_are_cut_before_pixels_become_square_and_the_picture_is_turned():
    wide = video(
        _framed(left=8, right=8, top=4, bottom=4), "mov", pixel_aspect=Fraction(2), rotation=(90, False, False)
    )
    _, reader = _read(with_aperture(wide, b"avc1", 80, 56))
    assert (reader.width, reader.height) == (56, 160)


@pytest.mark.report("C1", "C5")
def test_times_stay_when_edges_are_cut():
    times_ms = [0, 100, 200, 700, 800]
    frames, reader = _read(with_pixel_crop(video(levels(5), times_ms=times_ms), 4, 4, 0, 0))
    assert reader.width == 40 and reader.fps == 10 and which(frames) == [0, 1, 2, 2, 2, 2, 2, 3, 4]


@pytest.mark.report("C5", "C7")
def test_colours_and_half_pictures_are_those_of_the_whole_picture():
    hdr = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    file = video(np.stack([patches()] * 3), codec="libx265", pix_fmt="yuv420p10le", tags=hdr)
    (whole, _), (cut, reader) = _read(file), _read(with_pixel_crop(file, 4, 4, 0, 0))
    assert np.abs(cut[1].astype(int) - whole[1][:, 4:-4]).max() <= 2 and len(reader.notes) == 2
    combed = np.full((10, 64, 96, 3), 255, np.uint8)
    for i, frame in enumerate(combed):
        frame[0::2, 10 + 4 * i : 30 + 4 * i] = frame[1::2, 12 + 4 * i : 32 + 4 * i] = 0
    file = video(combed, options={"x264-params": "interlaced=1:tff=1"})
    (whole, _), (cut, reader) = _read(file), _read(with_pixel_crop(file, 0, 0, 3, 0))
    assert np.abs(cut[5].astype(int) - whole[5][3:]).mean() < 2
    assert reader.notes[1:] == ["it is interlaced: 10 of 10 frames deinterlaced"]


@pytest.mark.parametrize("container", ["mov", "matroska", "avi"])
def test_nothing_is_cut_without_a_word_of_the_container(container):
    _, reader = _read(video(_framed(), container))
    assert (reader.width, reader.height) == (96, 64) and not any("edges" in note for note in reader.notes)
