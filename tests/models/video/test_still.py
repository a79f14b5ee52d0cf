"""Pictures as people have them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from longtake.models.video import still
from longtake.models.video.still import read_still

RED, WHITE = (230, 30, 30), (255, 255, 255)


def patches():
    """Red at the left, white at the right."""
    picture = np.full((20, 40, 3), 255, np.uint8)
    picture[:, :20] = RED
    return Image.fromarray(picture)


def test_a_picture_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right
    patches().save(tmp_path / "phone.png", exif=exif)
    frame, notes = read_still(tmp_path / "phone.png")
    assert frame.shape == (40, 20, 3) and notes == []
    assert tuple(frame[0, 0]) == RED and tuple(frame[-1, 0]) == WHITE


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_white_shows_through(tmp_path, mode):
    picture = patches().convert("RGBA")
    picture.putalpha(Image.fromarray(np.repeat(np.uint8([[255] * 20 + [0] * 20]), 20, 0)))
    black = Image.composite(picture, Image.new("RGBA", picture.size, (0, 0, 0, 0)), picture.getchannel("A"))
    black.convert(mode).save(tmp_path / "sticker.png")
    frame, notes = read_still(tmp_path / "sticker.png")
    assert tuple(frame[0, -1]) == WHITE and tuple(frame[0, 0]) != WHITE
    assert notes == ["it is transparent: white shows through"]


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    frame, notes = read_still(tmp_path / "deep.png")
    assert (frame == 100).all() and notes == ["its colours are converted: 16 bits to 8"]


def test_cmyk_becomes_rgb(tmp_path):
    patches().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    frame, notes = read_still(tmp_path / "print.jpg")
    assert np.abs(frame[10, 5].astype(int) - RED).max() < 12 and notes == ["its colours are converted: CMYK to RGB"]


def test_an_animation_gives_its_first_frame_and_says_so(tmp_path):
    others = [Image.new("RGB", (40, 20), "blue")] * 2
    patches().save(tmp_path / "moves.gif", save_all=True, append_images=others)
    frame, notes = read_still(tmp_path / "moves.gif")
    assert np.abs(frame[0, 0].astype(int) - RED).max() < 12
    assert notes[0].startswith("it is animated: only the first of its ")


def test_what_cannot_be_read_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    patches().save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    says = {"text.png": "it is no picture", "half.png": "cannot be read as a picture", "none.png": "No such file"}
    for name, reason in says.items():
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: .*{reason}"):
            read_still(tmp_path / name)
    with pytest.raises(ValueError, match="Is a directory"):
        read_still(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "values.tiff")
    with pytest.raises(ValueError, match="fractions without a known range"):
        read_still(tmp_path / "values.tiff")
    monkeypatch.setattr(still, "MAX_PIXELS", 799)
    with pytest.raises(ValueError, match="it is 40x20, and a picture may have 799 pixels"):
        read_still(tmp_path / "whole.png")


def test_a_picture_that_confuses_pillow_is_refused_as_any_damaged_one(tmp_path):
    """Two headers that contradict each other: Pillow raises a TypeError."""
    headers = [b"IHDR" + struct.pack(">IIBBBBB", 4, 4, 8, colours, 0, 0, 0) for colours in (3, 2)]
    chunks = [headers[0], b"tRNS" + bytes(2), headers[1]]
    chunks += [b"IDAT" + zlib.compress(bytes(4 * 13)), b"IEND"]
    sent = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    (tmp_path / "odd.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(sent))
    with pytest.raises(ValueError, match=f"^{tmp_path}/odd.png: it cannot be read as a picture"):
        read_still(tmp_path / "odd.png")


def test_only_the_formats_asked_for_are_read(tmp_path):
    """For EPS, Pillow starts Ghostscript."""
    for kind in ("eps", "gif", "tiff"):
        patches().save(tmp_path / "file", kind)
        with pytest.raises(ValueError, match="^sent: it is no PNG, JPEG or WEBP picture that can be read$"):
            read_still(tmp_path / "file", "sent", ("PNG", "JPEG", "WEBP"))
    patches().save(tmp_path / "file", "png")
    assert np.array_equal(read_still(tmp_path / "file", "sent", ("PNG", "JPEG", "WEBP"))[0], np.asarray(patches()))


def test_a_picture_may_have_fewer_pixels(tmp_path):
    patches().save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png: it is 40x20, and a picture may have 799 pixels"):
        read_still(tmp_path / "a.png", max_pixels=799)
    assert read_still(tmp_path / "a.png", max_pixels=800)[0].shape == (20, 40, 3)
