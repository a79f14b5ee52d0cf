"""Videos that rows of prompts continue."""

import json
import os
import shutil
from hashlib import sha256

import fsspec
import pytest

from longtake.pipelines.datasets.continued_videos import NamedVideo, find_video, read_video, same_video, sha256_of
from longtake.pipelines.datasets.prompt_rows import PromptRow, RowDefaults, read_rows, to_request
from tests.support.videos import levels, video, which

DEFAULTS = RowDefaults(48, "", 7)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clips" / "a.mkv"
    path.parent.mkdir()
    path.write_bytes(video(levels(12)).getvalue())
    return path


def test_a_path_is_relative_to_the_file_of_its_row(clip, tmp_path):
    for name in ("clips/a.mkv", str(clip), f"file://{clip}"):
        (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a", "video": name}))
        (row,) = read_rows(str(tmp_path / "p.jsonl"))
        with read_video(find_video(row.video)) as reader:
            assert which(reader.frames()) == list(range(12))
    assert sha256_of(row.video) == sha256(clip.read_bytes()).hexdigest()


def test_a_video_may_lie_in_a_store(clip):
    with fsspec.open("memory://bucket/a.mkv", "wb") as file:
        file.write(clip.read_bytes())
    row = PromptRow("p.jsonl:1", {"prompt": "a", "video": "a.mkv"}, None, file="memory://bucket/p.jsonl")
    found = find_video(row.video)
    with read_video(found) as reader:
        assert which(reader.frames()) == list(range(12))
    with fsspec.open("memory://bucket/a.mkv", "wb") as file:
        file.write(clip.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"^video=memory:///?bucket/a.mkv: it changed"):
        read_video(found)


def test_the_version_is_that_of_the_bytes(clip):
    before = find_video(str(clip)).version
    copy = shutil.copy2(clip, clip.with_name("copy.mkv"))
    assert find_video(str(copy)).version == before
    clip.write_bytes(video(levels(13)).getvalue())
    assert find_video(str(clip)).version != before


def test_what_is_no_video_is_named_with_the_reason(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.mp4")
    says = {
        "none.mp4": r"No such file or directory",
        "text.mp4": r"cannot be read as a video \(Invalid data found when processing input\)",
        "empty.mp4": "it is empty",
        "pipe.mp4": "it is a pipe or a device, and a video is read twice: it must be a file",
    }
    for name, reason in says.items():
        with pytest.raises(ValueError, match=f"^video={tmp_path}/{name}: {reason}$"):
            read_video(find_video(f"{tmp_path}/{name}"))
    with pytest.raises(ValueError, match=r"^video=foo://bucket/a.mp4: Protocol not known: foo$"):
        find_video("foo://bucket/a.mp4")
    with pytest.raises(ValueError, match=r"^video=7: must be a path or a URL$"):
        PromptRow("p.jsonl:1", {"prompt": "a", "video": 7}, None).video  # noqa: B018


def test_another_video_at_the_same_place_is_refused(clip):
    digest = sha256_of(str(clip))
    assert same_video(str(clip), digest).num_frames == 12
    clip.write_bytes(video(levels(11)).getvalue())
    with pytest.raises(ValueError, match=f"it is another video .*the continuation needs {digest}"):
        same_video(str(clip), digest)
    with pytest.raises(ValueError, match="it changed"):
        read_video(NamedVideo(str(clip), "another version"))


def test_a_row_begins_with_a_picture_or_continues_a_video(tmp_path):
    both = PromptRow("p.jsonl:1", {"image": "a.png", "video": "b.mp4"}, None, file=f"{tmp_path}/p.jsonl")
    with pytest.raises(ValueError, match=r"^image='a.png' and video='b.mp4': a row begins with a picture or"):
        both.video  # noqa: B018


def test_a_row_without_an_id_is_named_by_its_video_too():
    rows = [{}, {"video": " "}, {"video": "a.mp4"}, {"image": "a.mp4"}]
    rows = [PromptRow("p.jsonl:1", {"prompt": "a", **more}, None) for more in rows]
    plain, blank, continued, pictured = (to_request(row, DEFAULTS, str).video_id for row in rows)
    assert plain == blank and len({plain, continued, pictured}) == 3 and rows[1].video is None
