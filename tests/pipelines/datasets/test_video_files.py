import os

import pytest

from longtake.pipelines.datasets.places import place_of
from longtake.pipelines.datasets.video_files import find_videos, kind_of
from longtake.pipelines.datasets.video_list import list_videos

TS_PACKETS = b"G\x40\x00\x10\x00" + bytes(range(256)) * 4


@pytest.mark.report("C15")
def test_sidecars_are_passed_over_and_counted_by_their_kind(tmp_path):
    sidecars = {f"a{ending}": b"x" for ending in (".txt", ".json", ".jpg", ".parquet", ".srt", ".m4a", "_poster.jpg")}
    unknown = {
        "README": b"words",
        "notes.xyz": b"words",
        "b.ts": b"export const a = 1",
        "thumb.webp": b"RIFF....WEBPVP8 ",
    }
    for name, content in {
        **sidecars,
        **unknown,
        ".b.mp4": b"",
        "a.mp4": b"x",
        "c.ts": TS_PACKETS,
        "d.foo": b"\0\1",
    }.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.mp4")  # which would never end
    found = find_videos(place_of(str(tmp_path)))
    assert sorted(found.files) == ["a.mp4", "c.ts", "d.foo"]
    assert found.passed_over.startswith("13 files skipped, not videos by name or content: 2 .jpg, ")
    assert all(
        word in found.passed_over
        for word in ("1 .json", "1 hidden", "1 text", "1 .ts", "1 .xyz", "1 still .webp", "1 no file")
    )


@pytest.mark.report("C15")
@pytest.mark.parametrize(
    "name", ["a.wmv", "b.FLV", "c.3gp", "d.MTS", "e.m2ts", "f.ogv", "g.vob", "h.apng", "i.asf", "j"]
)
def test_a_container_of_ffmpeg_is_listed_by_folder_and_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x47\x40\x11\x10\x00")
    (tmp_path / "a.txt").write_text("words")
    for place in (tmp_path, tmp_path / name, tmp_path / "*"):
        assert [video.path for video in list_videos(str(place))] == [name]


def test_a_file_that_is_named_is_tried_whatever_its_ending(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    assert [video.path for video in list_videos(str(tmp_path / "a.txt"))] == ["a.txt"]


@pytest.mark.parametrize(
    "head, ending, kind",
    [
        (b"", ".x", ".x"),
        ("na\u00efve caf\u00e9".encode()[:-1], "", "text"),
        ("words".encode("utf-16"), ".x", ".x"),
        (b"OggS....\x80theora", ".ogg", None),
        (b"OggS....\x01vorbis", ".ogg", ".ogg"),
        (b"RIFF....WEBPVP8X....\x02", ".webp", None),
        (b"RIFF....WEBPVP8X....\x10", ".webp", "still .webp"),
        (b"RIFF....WEBPVP8X", ".webp", "still .webp"),
        (b"\0\0\0\x1cftypavis", ".avif", None),
        (b"\0\0\0\x1cftypavif", ".avif", "still .avif"),
        (b"GIF89a\x01\0", ".gif", None),
        (b"\x1aE\xdf\xa3", ".bak", None),
    ],
)
def test_the_first_bytes_tell_text_sound_and_stills_from_videos(head, ending, kind):
    assert kind_of(head, ending) == kind


@pytest.mark.report("C15")
def test_pipes_and_links_to_folders_are_no_files(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "round").symlink_to(".")
    (tmp_path / "lost.mp4").symlink_to("nowhere.mp4")
    found = find_videos(place_of(str(tmp_path)))
    assert set(found.files) == {"a.mp4", "lost.mp4"} and found.passed_over == (
        "2 files skipped, not videos by name or content: 2 no file"
    )
    for name, reason in (
        ("pipe.mp4", "a pipe or a device"),
        ("lost.mp4", "no such file"),
        ("none.mp4", "no such file"),
    ):
        with pytest.raises(FileNotFoundError, match=reason):
            find_videos(place_of(str(tmp_path / name)))
