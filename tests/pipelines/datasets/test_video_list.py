import io
import json
import tarfile
from datetime import UTC, datetime

import pandas as pd
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.files.store import Store


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


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
    assert one.path == "b.mp4" and one.read() == b"b.mp4"
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
    assert lost.reason == "it broke"


def test_a_member_of_a_shard_is_read_out_of_it(tmp_path):
    store = Store(tmp_path)
    record(store, "one", path="shards/000000.tar#one.mp4")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "000000.tar", "w") as tar:
        info = tarfile.TarInfo("one.mp4")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"video"))
    (video,) = list_videos(str(tmp_path))
    assert video.read() == b"video"


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_videofolder_says_what_its_videos_show(tmp_path, kind):
    rows = pd.DataFrame([{"file_name": "a.mp4", "text": "a ring", "seed": 3}])
    files(tmp_path, "a.mp4", "not-in-the-table.mp4")
    path = tmp_path / f"metadata.{kind}"
    write = {"csv": rows.to_csv, "parquet": rows.to_parquet, "jsonl": rows.to_json}[kind]
    write(path, **({"orient": "records", "lines": True} if kind == "jsonl" else {"index": False}))
    (video,) = list_videos(str(tmp_path))
    assert (video.path, video.prompt, video.seed) == ("a.mp4", "a ring", 3) and video.read() == b"a.mp4"


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


def test_a_listed_video_survives_json():
    video = Listed("a", "b", None, "c", "d", 5, (8, 16))
    assert Listed.of_text(video.as_text()) == video
