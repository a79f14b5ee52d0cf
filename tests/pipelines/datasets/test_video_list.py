import io
import json
import os
import shutil
import tarfile
import zipfile
from datetime import UTC, datetime

import pandas as pd
import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.files.store import Store
from tests.support.places import REPORTS


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def content(video):
    with video.local() as path:
        return path.read_bytes()


def record(store, id, **fields):
    known = {
        "prompt": "a red circle",
        "negative_prompt": "",
        "status": "done",
        "source": "p:1",
        "ordinal": 0,
        "path": f"videos/{id}.mp4",
        "sha256": "0",
        "size_bytes": 1,
        "num_frames": 80,
        "fps": 8.0,
        "width": 8,
        "height": 8,
        "seed": 7,
        "bundle": "tiny",
        "bundle_sha256": "0",
        "settings": json.dumps({"plan.overlap_frames": 8}),
        "generate_s": 1.0,
        "refine_s": 1.0,
        "encode_s": 1.0,
        "finished_at": datetime.now(UTC),
    }
    Manifest(store).record(VideoRow(id=id, **{**known, **fields}))


def test_a_folder_or_a_glob_has_its_videos_and_nothing_else(tmp_path):
    files(tmp_path, "b.mp4", "a/c.MOV", "notes.txt", ".hidden.mp4")
    assert [video.path for video in list_videos(str(tmp_path))] == ["a/c.MOV", "b.mp4"]
    (one,) = list_videos(f"{tmp_path}/*.mp4")
    assert one.path == "b.mp4" and content(one) == b"b.mp4"
    assert list_videos(str(tmp_path / "b.mp4"))[0].path == "b.mp4"


def test_a_bulk_job_knows_prompt_seed_and_borders(tmp_path):
    store = Store(tmp_path)
    record(store, "one")
    record(store, "two", status="failed", reason="it broke", path=None)
    lost, made = list_videos(str(tmp_path))
    assert (made.id, made.prompt, made.seed, made.path) == ("one", "a red circle", 7, "videos/one.mp4")
    plan = Plan(80, PlanParams())
    assert {chunk.start for chunk in plan.chunks[1:] if chunk.start < 80} <= set(made.borders)
    assert {window.start for window in plan.windows[1:]} <= set(made.borders)
    assert all(0 < border < 80 for border in made.borders)
    assert lost.reason == "it broke" and not lost.made
    with pytest.raises(ValueError, match="it was not made: it broke"):
        lost.check()


def test_of_a_video_that_continues_another_only_the_borders_of_new_frames_are_known(tmp_path):
    record(Store(tmp_path), "one", num_frames=40, extends_frames=27)
    (made,) = list_videos(str(tmp_path))
    extension = Extension(27, 13, PlanParams())
    first = extension.plan.chunk_at(extension.end)
    assert {chunk.start - extension.shift for chunk in extension.plan.chunks[first:]} & set(range(40)) <= {
        *made.borders
    }
    assert made.borders[0] == 27 and made.borders[-1] < 40


def test_a_member_of_a_shard_is_read_out_of_it(tmp_path):
    store = Store(tmp_path)
    record(store, "one", path="shards/000000.tar#one.mp4")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "000000.tar", "w") as tar:
        info = tarfile.TarInfo("one.mp4")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"video"))
    (video,) = list_videos(str(tmp_path))
    assert content(video) == b"video"


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_videofolder_says_what_its_videos_show(tmp_path, kind):
    rows = pd.DataFrame([{"file_name": "a.mp4", "text": "a ring", "seed": 3}])
    files(tmp_path, "a.mp4", "not-in-the-table.mp4")
    path = tmp_path / f"metadata.{kind}"
    write = {"csv": rows.to_csv, "parquet": rows.to_parquet, "jsonl": rows.to_json}[kind]
    write(path, **({"orient": "records", "lines": True} if kind == "jsonl" else {"index": False}))
    found = list_videos(str(tmp_path))
    (video,) = found
    assert found.notes == [f"1 video in the folder skipped: not listed in metadata.{kind}"]
    assert (video.path, video.prompt, video.seed) == ("a.mp4", "a ring", 3) and content(video) == b"a.mp4"


def test_a_table_of_paths_is_a_manifest_too(tmp_path):
    files(tmp_path, "x/a.mp4")
    (tmp_path / "list.csv").write_text("path,prompt\nx/a.mp4,a ring\n")
    (video,) = list_videos(str(tmp_path / "list.csv"))
    assert (video.path, video.prompt, video.seed) == ("x/a.mp4", "a ring", None)


@pytest.mark.parametrize("name", ["nothing-there", "*.mp4", "list.csv"])
def test_a_place_without_a_video_is_refused(tmp_path, name):
    (tmp_path / "list.csv").write_text("width,height\n1,2\n")
    with pytest.raises(ValueError, match="^manifest="):
        list_videos(f"{tmp_path}/{name}")


NAMES = (
    *("take#2.mp4", "a::b.mp4", "Episode #1.mp4", "100%.mp4", "a b.mp4", "[1] {2}.mp4", "10:30.mkv", "a\nb.mp4"),
    *("what?.mp4", "-o.mp4", "*.mp4", "s3:x.mp4", "naïve.mp4", "x.tar#y.mp4", "a;b'c\".mp4", "\\.mp4", "~.mp4"),
)


@pytest.mark.report("B4", "C15")
@pytest.mark.parametrize("name", NAMES)
def test_a_video_may_have_any_name_however_it_is_listed(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files(tmp_path / "in [it]", name, "b#.webm")
    table = [{"path": f"in [it]/{name}", "prompt": "a ring"}]
    pd.DataFrame(table).to_csv(tmp_path / "list.csv", index=False)
    pd.DataFrame(table).to_parquet(tmp_path / "list.parquet")
    (tmp_path / "list.jsonl").write_text(json.dumps(table[0]))
    for place in (f"in [it]/{name}", f"{tmp_path}/in [it]/{name}", "list.csv", "list.parquet", "list.jsonl"):
        (video,) = list_videos(place)
        assert content(video) == name.encode()
        assert content(Listed.of_text(video.as_text())) == name.encode()
    for place in ("in [it]", "in [it]/*", "*/*", "**/*.*", f"file://{tmp_path}/in [it]"):
        assert {content(video) for video in list_videos(place)} == {name.encode(), b"b#.webm"}


@pytest.mark.report("B4")
def test_a_name_that_is_no_text_is_listed_and_can_be_written(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.mp4", "wb") as file:
        file.write(b"latin")
    (video,) = list_videos(str(tmp_path))
    assert video.path == "caf\\udce9.mp4" and content(Listed.of_text(video.as_text())) == b"latin"


@pytest.mark.report("B4")
def test_a_number_sign_in_a_shard_s_path_leads_to_a_member_and_elsewhere_it_does_not(tmp_path):
    record(Store(tmp_path), "one", path="videos/take#1.mp4")
    files(tmp_path, "videos/take#1.mp4")
    (video,) = list_videos(str(tmp_path))
    assert content(video) == b"videos/take#1.mp4"


@pytest.mark.report("C15")
def test_the_files_of_real_people_are_tried_and_what_is_passed_over_is_said():
    found = list_videos(str(REPORTS / "clips"))
    assert [video.path for video in found] == [
        *("anim.apng", "dvd.vob", "old.wmv", "one_frame.mp4", "phone.3gp", "song.mp4")
    ]
    assert [video.path for video in list_videos(str(REPORTS / "clips" / "old.wmv"))] == ["old.wmv"]
    assert [video.path for video in list_videos(str(REPORTS / "names"))] == ["2022-01-26T20:57:04Z.mkv"]
    assert [video.path for video in list_videos(str(REPORTS / "hash"))] == ["Episode #1.mp4", "other.mp4"]


@pytest.mark.report("C14")
def test_captions_are_whole_whatever_line_ends_of_unicode_they_hold():
    captions = [video.prompt for video in list_videos(str(REPORTS / "meta"))]
    assert captions == ["A special talk\u2028by an author", "next\x85line and more"]


@pytest.mark.report("B4", "C14")
def test_a_row_that_cannot_be_used_is_a_reason_and_the_others_are_listed(tmp_path):
    files(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("path,prompt,seed\na.mp4,a ring,3.0\n,no file,1\na.mp4,b, too\na.mp4,c,x\n")
    videos = {video.prompt: video for video in list_videos(str(tmp_path / "list.csv"))}
    assert videos["a ring"].seed == 3 and videos["a ring"].reason is None
    assert "no path" in videos["no file"].reason if "no file" in videos else True
    reasons = sorted(video.reason for video in list_videos(str(tmp_path / "list.csv")) if video.reason)
    assert [reason.split(":")[0] for reason in reasons] == [
        "it has no path and no file_name; its columns are prompt, seed",
        "seed=' too'",
        "seed='x'",
    ]
    (tmp_path / "list.jsonl").write_text('{"path": "a.mp4"}\n{"path":\n[1]\n')
    assert [video.path for video in list_videos(str(tmp_path / "list.jsonl"))] == [
        *("a.mp4", "list.jsonl, row 2", "list.jsonl, row 3")
    ]


@pytest.mark.report("C11")
def test_a_digest_is_another_one_once_the_file_its_caption_or_its_seed_is(tmp_path):
    files(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("path,prompt\na.mp4,a ring\n")
    (before,) = list_videos(str(tmp_path / "list.csv"))
    (same,) = list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "list.csv").write_text("path,prompt\na.mp4,a red ring\n")
    (recaptioned,) = list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "a.mp4").write_bytes(b"another")
    (replaced,) = list_videos(str(tmp_path / "list.csv"))
    assert before.digest == same.digest and len({before.digest, recaptioned.digest, replaced.digest}) == 3


def test_rows_of_one_video_with_two_captions_stay_and_exact_repetitions_are_merged_and_said(tmp_path):
    files(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("path,prompt\na.mp4,a ring\na.mp4,a circle\na.mp4,a ring\n")
    found = list_videos(str(tmp_path / "list.csv"))
    assert [video.prompt for video in found] == ["a ring", "a circle"]
    assert found.notes == ["1 row repeats another one in every column: duplicates are dropped"]


def test_a_folder_that_is_named_manifest_makes_no_bulk_job(tmp_path):
    files(tmp_path, "a.mp4", "manifest/b.mp4")
    assert [video.path for video in list_videos(str(tmp_path))] == ["a.mp4", "manifest/b.mp4"]


def test_a_listed_video_survives_json():
    video = Listed("a", "b", None, "c", "d", 5, (8, 16))
    assert Listed.of_text(video.as_text()) == video


@pytest.mark.report("B4", "C15")
def test_an_object_store_has_any_names_too_and_says_when_a_file_is_another(s3_url, tmp_path):
    names = ["100%.mp4", "[x] y.wmv", "a::b#1.mp4", "a?b.mp4"]
    folder = Store(f"{s3_url}/{tmp_path.name}")
    for name in (*names, "words.txt"):
        folder.put(name, name.encode())
    found = list_videos(folder.url)
    assert [video.path for video in found] == names and "1 .txt" in found.notes[0]
    assert [content(Listed.of_text(video.as_text())) for video in found] == [name.encode() for name in names]
    assert [video.path for video in list_videos(f"{folder.url}/a*")] == names[2:]
    folder.put(names[0], names[1].encode()[:8])
    changed = {video.digest for video in list_videos(folder.url)} - {video.digest for video in found}
    assert len(changed) == 1


@pytest.mark.report("C12")
def test_tables_of_the_folders_of_a_videofolder_are_read_as_hugging_face_reads_them(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: it is in the dev extra")
    files(tmp_path, "b/0.mp4", "b/1.mp4", "b/deep/0.mp4", "a set/0.mp4", ".cache/0.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\nb/1.mp4,root\n")
    (tmp_path / "b/metadata.csv").write_text("file_name,text\n0.mp4,a\ndeep/0.mp4,b\n")
    (tmp_path / "a set/metadata.csv").write_text("file_name,text\n0.mp4,c\n")
    (tmp_path / ".cache/metadata.csv").write_text("file_name,text\n0.mp4,hidden\n")
    found = list_videos(str(tmp_path))
    assert {video.path: video.prompt for video in found} == {
        "a set/0.mp4": "c",
        "b/0.mp4": "a",
        "b/1.mp4": "root",
        "b/deep/0.mp4": "b",
    }
    assert all(content(video) == video.path.encode() for video in found) and found.notes == []
    theirs = datasets.load_dataset("videofolder", data_dir=str(tmp_path), cache_dir=str(tmp_path / ".hf"))
    theirs = [row for split in theirs.values() for row in split.cast_column("video", datasets.Video(decode=False))]
    assert sorted((row["video"]["path"], row["text"]) for row in theirs) == sorted(
        (video.url, video.prompt) for video in found
    )


@pytest.mark.report("C12", "C15")
def test_tables_that_are_not_read_and_videos_that_are_in_none_are_said(tmp_path):
    files(tmp_path, "a/0.mp4", "a/1.mp4", "b/0.mp4", "c/0.mp4")
    (tmp_path / "a/metadata.csv").write_text("file_name,text\n0.mp4,csv\n")
    (tmp_path / "a/metadata.jsonl").write_text('{"file_name": "1.mp4", "text": "jsonl"}\n')
    (tmp_path / "b/metadata.csv").write_text("width,height\n1,2\n")
    (tmp_path / "c/metadata.csv").write_text("file_name,text\n0.mp4,c\nx.mp4,d,e\n")
    found = list_videos(str(tmp_path))
    assert [(video.path, video.prompt) for video in found] == [
        ("a/1.mp4", "jsonl"),
        ("c/0.mp4", "c"),
        ("c/metadata.csv, row 2", None),
    ]
    assert found.notes == [
        "a/metadata.csv skipped: metadata.jsonl is in the same folder",
        "b/metadata.csv skipped: no row can be used; b/metadata.csv, row 1: it has no path and no file_name; "
        "its columns are width, height",
        "2 videos in the folder skipped: not listed in a/metadata.jsonl, c/metadata.csv",
    ]
    with pytest.raises(ValueError, match="no row can be used; metadata.csv, row 1: it has no path and no file_name"):
        list_videos(str(tmp_path / "b"))


@pytest.mark.report("B1", "C11")
def test_a_file_that_another_one_replaced_is_another_version_and_a_copy_with_its_times_is_none(tmp_path):
    def versions(folder):
        return {video.path: video.version for video in list_videos(str(folder))}

    names = ("a.mp4", "b.mp4", "c.mp4")
    for name in names:
        files(tmp_path / "one", name)
        (tmp_path / "one" / name).write_bytes(bytes(100_000))
    (tmp_path / "one" / "link.mp4").symlink_to("c.mp4")
    before = versions(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy", symlinks=True)  # which keeps times, as cp -p and rsync -t do
    assert versions(tmp_path / "copy") == before
    for name, where in (("a.mp4", 0), ("b.mp4", 50_000), ("c.mp4", 99_999)):
        path = tmp_path / "one" / name
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_bytes(bytes(where) + b"x" + bytes(99_999 - where))
        os.utime(path, ns=times)
    after = versions(tmp_path / "one")
    assert {name for name in before if before[name] != after[name]} == {*names, "link.mp4"}
    (tmp_path / "one" / "metadata.csv").write_text("file_name\n" + "\n".join(sorted(before)))
    assert versions(tmp_path / "one") == after, "the same, however it is listed"


@pytest.mark.report("C15")
def test_what_cannot_be_opened_has_a_version_too(tmp_path):
    files(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "list.csv").write_text("path\na.mp4\ngone.mp4\npipe.mp4\n")
    assert [video.path for video in list_videos(str(tmp_path / "list.csv"))] == ["a.mp4", "gone.mp4", "pipe.mp4"]


@pytest.mark.report("C12")
def test_a_table_without_rows_is_no_reason_to_read_the_folder_without_captions(tmp_path):
    files(tmp_path, "a.mp4", "sub/b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,text\n")
    with pytest.raises(ValueError, match="^manifest=.*: metadata.csv has no rows$"):
        list_videos(str(tmp_path))
    (tmp_path / "metadata.csv").rename(tmp_path / "sub" / "metadata.csv")
    found = list_videos(str(tmp_path))
    assert [video.path for video in found] == ["a.mp4", "sub/b.mp4"]
    assert found.notes[0] == "sub/metadata.csv skipped: sub/metadata.csv has no rows"


@pytest.mark.report("C12")
def test_a_videofolder_in_an_archive_is_read_with_its_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("metadata.csv", "sub/metadata.csv"):
            archive.writestr(name, "file_name,text\na.mp4,of " + name)
        for name in ("a.mp4", "sub/a.mp4", "b.mp4"):
            archive.writestr(name, name)
    found = list_videos(f"zip://::{tmp_path}/a.zip")
    assert {video.path: video.prompt for video in found} == {
        "a.mp4": "of metadata.csv",
        "sub/a.mp4": "of sub/metadata.csv",
    }
    assert [content(video) for video in found] == [b"a.mp4", b"sub/a.mp4"]
    assert found.notes == ["1 video in the folder skipped: not listed in metadata.csv, sub/metadata.csv"]
