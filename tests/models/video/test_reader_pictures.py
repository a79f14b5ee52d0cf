import gc
import io
import itertools
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from longtake.models.video.reader import VideoReader
from tests.support.places import REPORTS
from tests.support.videos import colours, levels, noise, patches, video


def _read(source):
    with VideoReader(source) as reader:
        frames = list(reader.frames())
        assert len(frames) == reader.num_frames
        assert {frame.shape for frame in frames} == {(reader.height, reader.width, 3)}
        return frames, reader


def _patches(**how):
    frames, reader = _read(video(np.stack([patches()] * 3), **how))
    return *colours(frames[1]), reader.notes


# Shape


@pytest.mark.report("C5")
@pytest.mark.parametrize(("aspect", "size"), [(Fraction(32, 27), (57, 32)), (Fraction(8, 9), (48, 36)), (1, (48, 32))])
def test_pixels_become_square_and_one_side_grows(aspect, size):
    _, reader = _read(video(levels(2), pixel_aspect=Fraction(aspect)))
    assert (reader.width, reader.height) == size
    assert [note.partition(":")[0] for note in reader.notes] == ["its pixels are not square"] * (aspect != 1)


@pytest.mark.report("C5")
def test_a_circle_of_a_dvd_is_a_circle():
    frames, reader = _read(REPORTS / "anamorphic_dvd.mp4")
    circle = np.abs(frames[0].astype(int) - frames[0][2, 2]).max(-1) > 60
    rows, columns = np.flatnonzero(circle.any(1)), np.flatnonzero(circle.any(0))
    assert abs(np.ptp(columns) / np.ptp(rows) - 1) <= 0.05
    assert (reader.width, reader.height) == (213, 120)


@pytest.mark.parametrize(
    ("angle", "hflip", "vflip"), [*itertools.product((0, 90, 180, 270), (False, True), (False, True))]
)
def test_a_picture_is_turned_and_mirrored_upright(angle, hflip, vflip):
    stored = np.zeros((3, 16, 32, 3), np.uint8)
    stored[:, :8, :16], stored[:, :8, 16:] = 255, 128
    frames, _ = _read(video(stored, "mov", "mjpeg", "yuvj444p", rotation=(angle, hflip, vflip)))
    upright = np.rot90(stored[0], angle // 90)  # FFmpeg mirrors what is turned
    upright = upright[:, ::-1] if hflip else upright
    upright = upright[::-1] if vflip else upright
    assert np.abs(frames[1].astype(int) - upright).mean() < 8


@pytest.mark.report("C5")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
def test_a_photo_is_upright_and_not_mirrored(kind, orientation):
    _is_as_pillow_shows_it(kind, orientation, "RGB")


@pytest.mark.report("C5")
@pytest.mark.parametrize(("kind", "mode"), [("jpeg", "L"), ("png", "P"), ("png", "LA"), ("png", "1"), ("webp", "RGBA")])
def test_a_mirrored_picture_of_any_pixels_is_not_mirrored(kind, mode):
    _is_as_pillow_shows_it(kind, 5, mode)


def _is_as_pillow_shows_it(kind, orientation, mode):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24], stored[:16, 24:] = 255, (230, 30, 30)
    Image.fromarray(stored).convert(mode).save(file, kind, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    frames, _ = _read(file)
    assert frames[0].shape == shown.shape and np.abs(frames[0].astype(int) - shown).mean() < 8


@pytest.mark.report("C1")
@pytest.mark.parametrize("with_video", [False, True])
def test_what_phones_put_behind_a_photo_is_no_frame_of_it_and_is_named(with_video):
    file, small = io.BytesIO(), Image.new("RGB", (16, 8), (90, 90, 90))
    Image.fromarray(noise(1, 256, 256)[0]).save(file, "MPO", save_all=True, append_images=[small])
    frames, reader = _read(io.BytesIO(file.getvalue() + video(levels(3), "mp4").getvalue() * with_video))
    assert (
        len(frames) == 1
        and frames[0].shape == (256, 256, 3)
        and reader.notes
        == [
            "it has no frame rate: 25 fps assumed",
            "it has other pictures behind its first, as for HDR or for two eyes: left out",
            *["another file is joined to its end: left out"] * with_video,
        ]
    )


@pytest.mark.report("C1")
def test_the_video_of_a_moving_photo_is_left_out_with_a_line():
    file = io.BytesIO()
    Image.fromarray(noise(1, 256, 256)[0]).save(file, "jpeg")
    _, reader = _read(io.BytesIO(file.getvalue() + video(levels(3), "mp4").getvalue()))
    assert "another file is joined to its end: left out" in reader.notes


def test_a_tilted_picture_is_turned_to_the_nearest_quarter_and_says_so():
    _, reader = _read(video(levels(2), "mov", rotation=(80, False, False)))
    assert (reader.width, reader.height) == (32, 48) and reader.notes == ["it is tilted: turned to the nearest quarter"]


def test_another_size_in_the_middle_gets_bars_and_says_so():
    high = np.full((5, 96, 32, 3), 255, np.uint8)
    parts = [video(frames, "mpegts", "mpeg2video", rate=25).getvalue() for frames in (levels(5, 64, 64), high)]
    frames, reader = _read(io.BytesIO(b"".join(parts)))
    last = frames[-1][:, :, 0]
    assert last.shape == (64, 64) and (last[:, 26:38] > 240).all() and (last[:, :20] < 16).all()
    assert any(note.startswith("its size changes: 5 of ") for note in reader.notes)


@pytest.mark.report("C5")
def test_a_broadcast_may_change_the_shape_of_its_pixels():
    wide, square = (
        video(levels(8, 48, 64), "mpegts", "mpeg2video", rate=25, pixel_aspect=Fraction(aspect)).getvalue()
        for aspect in (Fraction(4, 3), 1)
    )
    frames, reader = _read(io.BytesIO(wide + square))
    assert (reader.width, reader.height) == (85, 48)
    assert (frames[-1][:, :8] < 16).all() and (frames[-1][:, 12:72] > 40).all()  # with bars at the sides
    assert any(note.startswith("its size changes") for note in reader.notes)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_half_pictures_become_whole_ones(codec):
    combed = np.full((10, 64, 96, 3), 255, np.uint8)
    for i, frame in enumerate(combed):
        frame[0::2, 10 + 4 * i : 30 + 4 * i] = frame[1::2, 12 + 4 * i : 32 + 4 * i] = 0
    how = {"flags": "+ilme+ildct"} if codec == "mpeg2video" else {"x264-params": "interlaced=1:tff=1"}
    frames, reader = _read(video(combed, codec=codec, options=how))
    comb = np.abs(np.diff(frames[5][8:56, :, 0].astype(int), axis=0)).mean()
    assert comb < 2 < np.abs(np.diff(combed[5][8:56, :, 0].astype(int), axis=0)).mean()
    assert reader.notes == ["it is interlaced: 10 of 10 frames deinterlaced"] and len(frames) == 10


def test_a_picture_with_a_colour_profile_is_read_without_harm():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for kind in ("png", "jpeg", "webp") * 3:
        file = io.BytesIO()
        Image.fromarray(patches()).save(file, kind, icc_profile=profile)
        frames, _ = _read(file)
        assert np.abs(colours(frames[0])[0] - (230, 30, 30)).max() <= 8
    gc.collect()  # a broken heap shows itself here


# Transparency


def _sticker(num_frames=4):
    frames = np.zeros((num_frames, 64, 64, 4), np.uint8)
    frames[:, :, :32] = (230, 30, 30, 255)
    return frames


@pytest.mark.report("C6")
def test_a_sticker_is_the_same_picture_in_every_format():
    found = [_read(REPORTS / f"sticker.{kind}") for kind in ("gif", "webm", "mov")]
    assert all(reader.notes == ["it is transparent: white shows through"] for _, reader in found)
    for frames in zip(*(frames for frames, _ in found), strict=True):
        assert all((frame[0, 0] == 255).all() for frame in frames)
        assert all(np.abs(frame.astype(int) - frames[0]).mean() < 1 for frame in frames)


@pytest.mark.report("C6")
@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt"),
    [
        ("webm", "libvpx", "yuva420p"),
        ("webm", "libvpx-vp9", "yuva420p"),
        ("mov", "qtrle", "argb"),
        ("mov", "png", "rgba"),
        ("mov", "prores_ks", "yuva444p10le"),
        ("apng", "apng", "rgba"),
        ("matroska", "ffv1", "rgba64le"),
    ],
)
def test_white_shows_through_whatever_holds_the_transparency(container, codec, pix_fmt):
    options = {"auto-alt-ref": "0"} if "vpx" in codec else {}
    frames, reader = _read(video(_sticker(), container, codec, pix_fmt, options=options))
    red, white = colours(frames[1])
    assert np.abs(red - (230, 30, 30)).max() <= 6 and white.min() >= 253
    assert reader.notes == ["it is transparent: white shows through"]


def test_half_transparent_is_half_white_and_opaque_says_nothing():
    frames = _sticker()
    frames[..., 3] = 128
    shown, _ = _read(video(frames, "mov", "png", "rgba"))
    assert np.abs(colours(shown[0])[0] - (242, 142, 142)).max() <= 1
    frames[..., 3] = 255
    assert _read(video(frames, "mov", "png", "rgba"))[1].notes == []


# Colour


@pytest.mark.report("C7")
def test_hdr_is_as_bright_and_red_as_it_was():
    frames, reader = _read(REPORTS / "hdr10.mp4")
    assert (frames[0][10, 100] >= 235).all() and np.abs(frames[0][48, 32].astype(int) - (230, 30, 30)).max() <= 25
    assert reader.notes == ["its colours are converted: smpte2084, bt2020 to SDR in BT.709"]


@pytest.mark.report("C7")
@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"color_trc": 18, "color_primaries": 9, "colorspace": 9}, "its colours are converted: arib-std-b67, bt2020"),
        ({"color_trc": 13, "color_primaries": 12, "colorspace": 1}, "its colours are converted: smpte432"),
        ({"color_trc": 8, "color_primaries": 1, "colorspace": 1}, "its colours are converted: linear"),
        ({"color_trc": 5, "color_primaries": 5, "colorspace": 5}, "its colours are rare: transfer gamma28"),
        ({"color_trc": 1, "color_primaries": 1, "colorspace": 10}, "its colours are rare: matrix bt2020c"),
    ],
)
def test_colours_that_are_not_usual_are_named(tags, says):
    red, white, notes = _patches(pix_fmt="yuv444p", tags=tags)
    assert len(notes) == 1 and notes[0].startswith(says) and white.min() >= 225 and red[0] > 200


def test_colours_that_cannot_be_converted_are_refused_by_name():
    with pytest.raises(ValueError, match="its colour matrix is ycgco, which cannot be converted"):
        _patches(pix_fmt="yuv444p", tags={"colorspace": 8})


@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt"),
    [
        ("matroska", "libx264", "yuv420p"),
        ("mp4", "libx264", "yuv444p10le"),
        ("mov", "mjpeg", "yuvj420p"),
        ("matroska", "libx264rgb", "rgb24"),
        ("matroska", "ffv1", "gbrp10le"),
        ("matroska", "ffv1", "yuv422p12le"),
        ("nut", "rawvideo", "bgr0"),
        ("mov", "png", "rgb48be"),
        ("asf", "wmv2", "yuv420p"),
        ("3gp", "mpeg4", "yuv420p"),
        ("vob", "mpeg2video", "yuv420p"),
    ],
)
def test_red_is_red_and_white_is_white_in_any_format(container, codec, pix_fmt):
    red, white, notes = _patches(container=container, codec=codec, pix_fmt=pix_fmt, rate=25)
    assert np.abs(red - (230, 30, 30)).max() <= 12 and white.min() >= 250 and notes == []
