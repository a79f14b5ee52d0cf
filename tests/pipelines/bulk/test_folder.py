"""The folder of a job between its runs."""

import numpy as np
import pytest

from longtake.pipelines.bulk.folder import finish, forget, lost, unpacked
from longtake.pipelines.bulk.resume import resume
from longtake.pipelines.bulk.settings import Changed, Format, load_bulk
from longtake.pipelines.datasets.finished import Finished, digests_of
from longtake.pipelines.datasets.layouts import file_of
from longtake.pipelines.datasets.manifest import Manifest
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
