"""The folder of a job between its runs."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from longtake.pipelines.bulk.folder import finish, forget, lost, unpacked
from longtake.pipelines.bulk.resume import resume
from longtake.pipelines.bulk.settings import Changed, Format, load_bulk
from longtake.pipelines.datasets import layouts
from longtake.pipelines.datasets.finished import Finished, digests_of
from longtake.pipelines.datasets.layouts import file_of
from longtake.pipelines.datasets.manifest import Manifest
from longtake.pipelines.datasets.names import member_name
from longtake.pipelines.files.store import Store
from tests.pipelines.datasets.test_layouts import done, members


def conf_of(folder, format):
    size = ["shard_size=6"] if format is Format.WEBDATASET else []
    return load_bulk(overrides=["prompts=p", f"out={folder}", f"format={format.value}", *size])


def record(folder, ids, format):
    """Finished videos that no shard has yet."""
    manifest = Manifest(Store(folder))
    for ordinal, id in enumerate(ids):
        row = done(id, ordinal, format)
        manifest.store.put(file_of(row.path), f"video of {id}".encode())
        manifest.record(row)
    return manifest


def compared(manifest, rows, changed):
    """With rows of (id, whether it asks for something else)."""
    finished = manifest.finished()
    known = dict(zip(finished.ids.tolist(), finished.requests.tolist(), strict=True))
    ids = digests_of(id for id, _ in rows)
    requests = [0 if is_other else known.get(id, 1) for id, (_, is_other) in zip(ids.tolist(), rows, strict=True)]
    return resume(finished, ids, np.array(requests, np.uint64), changed, retry_failed=False)


@pytest.mark.report("B1")
@pytest.mark.parametrize("format", Format)
def test_changed_and_gone_videos_leave_the_folder_before_anything_is_made(tmp_path, format):
    manifest = record(tmp_path, "abc", format)
    finish(manifest, conf_of(tmp_path, format), {0} if format is Format.WEBDATASET else set())
    found = compared(manifest, [("new", False), ("a", False), ("b", True)], Changed.REMAKE)
    forget(manifest, found)
    assert [row.id for row in manifest.rows()] == ["a"]
    if format is Format.WEBDATASET:
        assert members(tmp_path) == {"a.mp4": b"video of a"}
    else:
        assert [path.read_text() for path in tmp_path.rglob("*.mp4")] == ["video of a"]
    assert unpacked(manifest, conf_of(tmp_path, format), found) == ({0: 2} if format is Format.WEBDATASET else {})


@pytest.mark.report("B1")
def test_a_kill_before_the_rows_are_forgotten_changes_nothing(tmp_path, monkeypatch):
    manifest = record(tmp_path, "abc", Format.WEBDATASET)
    finish(manifest, conf_of(tmp_path, Format.WEBDATASET), {0})
    rows = [("a", True), ("c", False)]
    monkeypatch.setattr(Manifest, "forget", lambda *_: None)  # killed there
    forget(manifest, compared(manifest, rows, Changed.REMAKE))
    monkeypatch.undo()
    again = compared(manifest, rows, Changed.REMAKE)
    assert len(again.outdated) == 2
    forget(manifest, again)
    assert [row.id for row in manifest.rows()] == ["c"] and members(tmp_path) == {"c.mp4": b"video of c"}


@pytest.mark.report("B1")
@pytest.mark.parametrize("format", Format)
def test_videos_are_lost_with_their_file_or_with_their_shard(tmp_path, format):
    manifest = record(tmp_path, "ab", format)
    assert len(lost(manifest)) == 0
    finish(manifest, conf_of(tmp_path, format), {0} if format is Format.WEBDATASET else set())
    assert len(lost(manifest)) == 0
    for path in [*tmp_path.rglob("*.mp4"), *tmp_path.rglob("*.tar")]:
        path.unlink()
    assert set(lost(manifest)) == set(digests_of("ab"))


def rewritten(tar, without):
    """Another tool copies a shard, less some members."""
    with tarfile.open(tar) as before, tarfile.open(f"{tar}.new", "w") as after:
        for info in before:
            if info.name not in without:
                after.addfile(info, before.extractfile(info))
    Path(f"{tar}.new").replace(tar)


def cut(tar, without):
    """The copying broke off in the last video."""
    with tarfile.open(tar) as before:
        end = before.getmember(without[0]).offset_data + 1
    os.truncate(tar, end)


@pytest.mark.parametrize("harm", [rewritten, cut])
def test_a_video_that_is_missing_in_its_shard_is_lost_and_made_again(tmp_path, harm):
    manifest, conf = record(tmp_path, "abc", Format.WEBDATASET), conf_of(tmp_path, Format.WEBDATASET)
    finish(manifest, conf, {0})
    harm(tmp_path / "shards" / "000000.tar", ["c.mp4"])
    assert set(lost(manifest)) == set(digests_of("c"))
    finished = manifest.finished()
    requests = np.array([finished.requests[finished.find(id)] for id in "abc"], np.uint64)
    found = resume(finished, digests_of("abc"), requests, Changed.REMAKE, retry_failed=False, lost=lost(manifest))
    forget(manifest, found)
    assert [row.id for row in manifest.rows()] == ["a", "b"] and len(lost(manifest)) == 0
    record(tmp_path, "abc", Format.WEBDATASET)  # `c` again; the others are there
    finish(Manifest(Store(tmp_path)), conf, {0})
    assert set(members(tmp_path)) == {"a.mp4", "b.mp4", "c.mp4"} and len(lost(Manifest(Store(tmp_path)))) == 0


def test_of_a_shard_that_is_no_archive_any_more_every_video_is_lost(tmp_path):
    manifest = record(tmp_path, "ab", Format.WEBDATASET)
    finish(manifest, conf_of(tmp_path, Format.WEBDATASET), {0})
    os.truncate(tmp_path / "shards" / "000000.tar", 100)
    assert set(lost(manifest)) == set(digests_of("ab"))


def test_a_shard_whose_last_member_is_at_its_place_is_not_read(tmp_path, monkeypatch):
    manifest = record(tmp_path, ["a", "é" * 60, "c" * 120], Format.WEBDATASET)
    finish(manifest, conf_of(tmp_path, Format.WEBDATASET), {0})
    monkeypatch.setattr(Store, "get_file", None)
    assert len(lost(manifest)) == 0


def test_a_shard_of_a_version_with_fewer_fields_is_not_read_either(tmp_path, monkeypatch):
    ids = ["a" * length for length in range(100, 220, 20)]  # of some the JSON fits into a block fewer
    manifest, fields = record(tmp_path, ids, Format.WEBDATASET), layouts.plain_fields
    newer = {key for key in fields(next(iter(manifest.rows()))) if key.startswith("extends")}
    with monkeypatch.context() as before:
        before.setattr(layouts, "plain_fields", lambda row: {k: v for k, v in fields(row).items() if k not in newer})
        finish(manifest, conf_of(tmp_path, Format.WEBDATASET), {0})
    with monkeypatch.context() as now:
        now.setattr(Store, "get_file", None)
        assert newer and len(lost(manifest)) == 0
    cut(tmp_path / "shards" / "000000.tar", [f"{member_name(ids[-1])}.mp4"])
    assert set(lost(manifest)) == set(digests_of(ids[-1:]))


@pytest.mark.report("B17")
def test_what_a_killed_run_left_is_packed_without_an_actor(tmp_path):
    manifest, conf = record(tmp_path, "abcdefg", Format.WEBDATASET), conf_of(tmp_path, Format.WEBDATASET)
    shards = unpacked(manifest, conf, compared(manifest, [(id, False) for id in "abcdefg"], Changed.REFUSE))
    assert shards == {0: 0, 1: 0}
    finish(manifest, conf, shards)
    assert len(members(tmp_path)) == 6 and set(members(tmp_path, 1)) == {"g.mp4"}
    assert not list((tmp_path / "videos").rglob("*.mp4")) and (tmp_path / "README.md").exists()


def test_nothing_is_forgotten_where_nothing_changed(tmp_path):
    manifest = record(tmp_path, "ab", Format.MP4)
    before = manifest.store.list("manifest")
    forget(manifest, compared(manifest, [("b", False), ("a", False), ("c", False)], Changed.REFUSE))
    assert manifest.store.list("manifest") == before and len(Finished()) == 0
