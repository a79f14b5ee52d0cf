"""Datasets as the readers of the field read them: every finished row once, with its prompt."""

import json
import os
import tarfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from longtake.pipelines.bulk.folder import DATA_FILES
from longtake.pipelines.bulk.paths import video_path
from longtake.pipelines.bulk.settings import Format
from longtake.pipelines.datasets.finished import digests_of
from longtake.pipelines.datasets.layouts import (
    delete_videos,
    file_of,
    loose_shards,
    member_of,
    pack_shard,
    write_card,
    write_metadata,
)
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.files.store import Store
from tests.support.places import REPORTS

SIZE = 6  # videos of a shard


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Hugging Face's library, without the network."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path_factory.mktemp("cache"))}
    library = pytest.importorskip("datasets", reason="datasets is not installed: it is in the dev extra")
    library.disable_progress_bars()
    return library


def make(folder, ids, format, failed=()):
    """A dataset of videos that are texts; returns id -> prompt."""
    store = Store(folder)
    manifest = Manifest(store)
    rows = [done(id, ordinal, format) for ordinal, id in enumerate(ids)]
    for row in rows:
        store.put(file_of(row.path), f"video of {row.id}".encode())
        manifest.record(row)
    for ordinal, id in enumerate(failed, len(rows)):
        fields = {"source": "p.jsonl:1", "status": "failed", "reason": "bad", "finished_at": datetime.now(UTC)}
        manifest.record(VideoRow(id=id, ordinal=ordinal, **fields))
    finish(store, format)
    return {row.id: row.prompt for row in rows}


def done(id, ordinal, format):
    """One with words that only later rows have, which readers must not take for another type."""
    path = member_of(ordinal // SIZE, id) if format is Format.WEBDATASET else video_path(id)
    is_late = ordinal >= SIZE
    return VideoRow(
        id=id,
        prompt=f"prompt {ordinal}\u2028of {id}",
        cues='[{"from_frame": 8, "prompt": "x"}]' if is_late else None,
        negative_prompt="",
        status="done",
        source=f"p.jsonl:{ordinal + 1}",
        ordinal=ordinal,
        path=path,
        sha256="00",
        size_bytes=1,
        num_frames=8,
        fps=8.0,
        width=16,
        height=16,
        seed=ordinal,
        asked_seed=ordinal,
        bundle="tiny",
        bundle_sha256="11",
        settings="{}",
        generate_s=0.0,
        refine_s=0.0,
        encode_s=0.0,
        unknown_words="dog" if is_late else None,
        finished_at=datetime.now(UTC),
    )


def finish(store, format):
    manifest = Manifest(store)
    manifest.compact()
    if format is Format.VIDEOFOLDER:
        write_metadata(store, manifest)
    for shard in loose_shards(store) if format is Format.WEBDATASET else ():
        pack_shard(store, manifest, shard, SIZE)
    write_card(store, manifest, DATA_FILES[format])


REPORTED = [json.loads(line)["id"] for line in (REPORTS / "prompts" / "ids.jsonl").read_text().split("\n") if line]
SPLITS = [
    "train",
    "test",
    "train-1",
    "val_2",
    "dev",
    "a.test.b",
    "Training",
    "evaluation 3",
    "validation",
    "x-eval",
    "contest",
]
OTHERS = [
    "",
    "__a__",
    "_b",
    ".c",
    "-d",
    "a.b",
    "a_b",
    "A.B",
    "日本",
    "한국",
    "x" * 300,
    "metadata",
    "README",
    "1",
    "a#b",
    "a?b*[c]",
]


@pytest.mark.report("C12")
@pytest.mark.parametrize("name", ["out", "train", "my-test set"])
def test_a_videofolder_is_read_whole_whatever_its_ids_and_its_folder_are_called(tmp_path, datasets, name):
    out = tmp_path / name
    prompts = make(out, SPLITS + OTHERS + REPORTED, Format.VIDEOFOLDER, failed=["bad"])
    for call in (("videofolder", {"data_dir": str(out / "videos")}), (str(out / "videos"), {}), (str(out), {})):
        found = datasets.load_dataset(call[0], **call[1])
        assert list(found) == ["train"] and "label" not in found["train"].features
        rows = found["train"].cast_column("video", datasets.Video(decode=False))
        assert {row["id"]: row["prompt"] for row in rows} == prompts and len(rows) == len(prompts)
        for row in rows:
            assert Path(row["video"]["path"]).read_text() == f"video of {row['id']}"


@pytest.mark.report("C12")
def test_a_videofolder_of_a_single_video_is_read_too(tmp_path, datasets):
    prompts = make(tmp_path / "out", ["test"], Format.VIDEOFOLDER)
    for path in (tmp_path / "out" / "videos", tmp_path / "out"):
        (row,) = datasets.load_dataset(str(path))["train"].cast_column("video", datasets.Video(decode=False))
        assert {row["id"]: row["prompt"]} == prompts and row["video"]["path"].endswith(".mp4")


@pytest.mark.report("C13")
def test_shards_are_read_whole_by_both_readers(tmp_path, datasets):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: it is in the dev extra")
    prompts = make(tmp_path / "out", REPORTED + SPLITS + OTHERS, Format.WEBDATASET, failed=["bad"])
    shards = sorted(map(str, (tmp_path / "out" / "shards").iterdir()))
    theirs = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert Counter(one["txt"] for one in theirs) == Counter(prompts.values())
    assert {one["json"]["id"]: (one["txt"], one["mp4"].decode()) for one in theirs} == {
        id: (prompt, f"video of {id}") for id, prompt in prompts.items()
    }
    keys = [one["__key__"] for one in theirs]
    assert len({key.casefold() for key in keys}) == len(keys) and not any(key.startswith(("_", ".")) for key in keys)
    for call in (
        ("webdataset", {"data_files": shards}),
        ("webdataset", {"data_dir": str(tmp_path / "out" / "shards")}),
        (str(tmp_path / "out"), {}),
    ):
        found = datasets.load_dataset(call[0], **call[1])
        assert list(found) == ["train"]
        rows = found["train"].cast_column("mp4", datasets.Video(decode=False))
        assert len(rows) == len(prompts) and {row["json"]["id"]: row["txt"] for row in rows} == prompts
        assert {row["json"]["unknown_words"] for row in rows} == {"", "dog"}


@pytest.mark.report("C12")
def test_the_manifest_is_a_table_of_all_rows(tmp_path, datasets):
    prompts = make(tmp_path / "train", SPLITS, Format.MP4, failed=["bad"])
    out = str(tmp_path / "train")
    for call in ((out, {}), (f"{out}/manifest", {}), ("parquet", {"data_dir": f"{out}/manifest"})):
        rows = datasets.load_dataset(call[0], **call[1])["train"]
        assert {row["id"]: row["prompt"] for row in rows} == {**prompts, "bad": None}


def members(out, shard=0):
    with tarfile.open(out / f"shards/{shard:06}.tar") as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".mp4")}


@pytest.mark.report("B1")
def test_a_video_that_is_made_again_or_deleted_leaves_no_trace_in_its_shard(tmp_path):
    make(tmp_path, "abcd", Format.WEBDATASET)
    store, manifest = Store(tmp_path), Manifest(Store(tmp_path))
    rows = {row.id: row for row in manifest.rows()}
    delete_videos(store, [rows["b"], rows["c"]])
    assert set(members(tmp_path)) == {"a.mp4", "d.mp4"}
    store.put(file_of(rows["d"].path), b"another video of d")  # made again, and not packed yet
    pack_shard(store, ManifestOf(store, [rows["a"], rows["d"]]), 0, SIZE)
    assert (
        members(tmp_path) == {"a.mp4": b"video of a", "d.mp4": b"another video of d"} and loose_shards(store) == set()
    )
    before = (tmp_path / "shards/000000.tar").read_bytes()
    pack_shard(store, ManifestOf(store, [rows["a"]]), 0, SIZE)  # d is gone
    assert members(tmp_path) == {"a.mp4": b"video of a"} and before != (tmp_path / "shards/000000.tar").read_bytes()
    delete_videos(store, [rows["a"]])
    assert not list((tmp_path / "shards").iterdir())


class ManifestOf(Manifest):
    """A manifest of these rows."""

    def __init__(self, store, rows):
        super().__init__(store)
        self.between = lambda ordinals: iter(rows)


def test_a_shard_with_its_videos_is_left_alone(tmp_path):
    make(tmp_path, "ab", Format.WEBDATASET)
    tar = tmp_path / "shards/000000.tar"
    before = tar.stat().st_mtime_ns
    assert pack_shard(Store(tmp_path), Manifest(Store(tmp_path)), 0, SIZE) == 2 and tar.stat().st_mtime_ns == before


@pytest.mark.report("C12")
@pytest.mark.parametrize("format", Format)
def test_a_dataset_that_grew_is_read_whole_again(tmp_path, datasets, format):
    for ids in ("a", "abc"):
        make(tmp_path, ids, format)
        assert len(datasets.load_dataset(str(tmp_path))["train"]) == len(ids)


@pytest.mark.report("C12")
def test_a_part_of_the_manifest_without_rows_hinders_no_reader(tmp_path, datasets):
    manifest = Manifest(Store(tmp_path))
    for ids in ("ab", "abc"):  # two parts, the second one with c alone
        make(tmp_path, ids, Format.MP4)
    manifest.forget(digests_of(["c"]))
    assert [row["id"] for row in datasets.load_dataset(str(tmp_path))["train"]] == ["a", "b"]


def test_a_card_of_the_user_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    make(tmp_path, "a", Format.MP4)
    assert (tmp_path / "README.md").read_text() == "mine"
