import zipfile

import fsspec
import pytest

from longtake.pipelines.datasets.places import place_of
from longtake.pipelines.datasets.video_list import list_videos


@pytest.mark.report("B4")
def test_a_protocol_and_a_chain_are_only_where_they_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("zip::a.mp4", "10:30.mkv", "data:a.mp4", "file:a.mp4", "memory:a.mp4"):
        (tmp_path / path).write_bytes(b"x")
        assert place_of(path).url == f"{tmp_path}/{path}"
    assert place_of("memory://a#b").path == "/a#b"
    assert place_of("file:///a#b/c::d.mp4").path == "/a#b/c::d.mp4"
    assert place_of("/a.mp4").at("").below("a.mp4").url == place_of("/b").below("/a.mp4").url == "/a.mp4"


@pytest.mark.parametrize("manifest", ["memory://shelf", "memory://shelf/*", "simplecache::memory://shelf"])
def test_videos_of_other_file_systems_are_opened_by_their_url(manifest):
    fsspec.filesystem("memory").pipe("/shelf/take#1 100%.mp4", b"x")
    (video,) = list_videos(manifest)
    with video.local() as path:
        assert path.read_bytes() == b"x" and path.suffix == ".mp4"
    assert video.path == "take#1 100%.mp4" and video.version


def test_videos_in_an_archive_are_listed_through_a_chain(tmp_path):
    with zipfile.ZipFile(tmp_path / "a#b.zip", "w") as archive:
        archive.writestr("in/c#1.mp4", "x")
        archive.writestr("in/c.txt", "x")
    for inside in ("in", "in/*", ""):
        (video,) = list_videos(f"zip://{inside}::{tmp_path}/a#b.zip")
        with video.local() as path:
            assert path.read_bytes() == b"x"


@pytest.mark.report("B11")
@pytest.mark.parametrize("manifest", ["", "nowhere", "s4://bucket/x", "*.mp4"])
def test_a_place_that_cannot_be_read_is_refused_in_one_line(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="^manifest=") as refused:
        list_videos(manifest)
    assert "\n" not in str(refused.value)


@pytest.mark.report("B11")
@pytest.mark.parametrize("text", ["", "file://", "local://"])
def test_an_empty_path_is_not_the_working_directory(text):
    with pytest.raises(ValueError, match="names no path"):
        place_of(text)
