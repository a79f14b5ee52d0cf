"""Bulk jobs on toy stages and a real Ray: their output, and its continuation after a stop."""

import fcntl
import io
import json
import os
import signal
import tarfile
import threading
import time
from hashlib import sha256

import pandas as pd
import pytest
from PIL import Image

import longtake.pipelines.files.folder_lock
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Coupling, StageName
from longtake.models.stages.params import RefinerParams
from longtake.models.video.mp4 import decode
from longtake.pipelines.api import write_mp4
from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.files.folder_lock import LEASE, LeaseTimes, exclusive
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.local import LocalRunner
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.signals import Stopped
from tests.pipelines.runners.test_local import NUM_STEPS
from tests.support.bulk_driver import TOY, run_job
from tests.support.toy import ToyBase, ToyRefiner

pytestmark = pytest.mark.xdist_group("ray")


def write_prompts(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def manifest_of(out):
    return pd.read_parquet(f"{out}/manifest").set_index("id").sort_values("ordinal")


def local_bytes(folder, spec, size=32):
    """The file that `longtake generate` would write of the same video, with toy stages."""
    params = RefinerParams(num_inference_steps=NUM_STEPS, height=size, width=size)
    stages = {StageName.GENERATE: ToyBase(), StageName.REFINE: ToyRefiner(params)}
    runner = LocalRunner(stages, PlanParams(), NUM_STEPS, Coupling.SYMMETRIC)
    write_mp4(runner.stream(spec), folder / "local.mp4")
    return (folder / "local.mp4").read_bytes()


ROWS = [
    {"id": "good", "prompt": "a red circle", "num_frames": 40, "seed": 5},
    {"prompt": "a blue circle", "refiner.coupling": "causal", "extra": [1, 2]},
    "this is no JSON",
    {"id": "no prompt"},
    {"id": "x", "prompt": "a", "num_frames": 0},
    {"id": "good", "prompt": "another with the same id"},
    {"id": "y", "prompt": "a", "refiner.strength": 7},
    {"id": "z", "prompt": "a", "ray.address": "auto"},
    {"id": "näme/with ☃", "prompt": "a snowman", "negative_prompt": "rain", "video.fps": 4},
    {"id": "bad", "prompt": "raise"},
]


@pytest.fixture(scope="module")
def finished(ray_cluster, tmp_path_factory):
    """A job over good and bad rows: its folder and tally."""
    folder = tmp_path_factory.mktemp("bulk")
    prompts = write_prompts(folder / "prompts.jsonl", ROWS)
    overrides = ("num_frames=17", "previews=true", "thumbnails=true", "seed=3", "ray.refiner.num_actors=2")
    return folder / "out", run_job(prompts, folder / "out", *overrides, fail_prompt="raise"), prompts, overrides


def test_every_row_has_exactly_one_row_in_the_manifest_with_its_reason(finished):
    out, tally, _, _ = finished
    rows = manifest_of(out)
    assert (tally.total, tally.done, tally.failed, tally.skipped) == (10, 3, 7, 0)
    assert list(rows.status) == ["done", "done", *["failed"] * 6, "done", "failed"]
    failed = rows[rows.status == "failed"].set_index("source").reason
    for line, reason in {
        3: "not JSON",
        4: "prompt",
        5: "num_frames=0: a video has at least 1 frame",
        6: "id='good': an earlier row has the same id",
        7: "refiner.strength=7",
        8: "ray.address=auto cannot differ from video to video",
        10: "the toy does not like it",
    }.items():
        assert reason in failed[f"prompts.jsonl:{line}"]


def test_the_files_are_what_the_local_runner_writes_and_the_manifest_says(finished, tmp_path):
    out, *_ = finished
    row = manifest_of(out).loc["good"]
    video = (out / row.path).read_bytes()
    assert video == local_bytes(tmp_path, PromptSpec("take", "a red circle", num_frames=40, seed=5))
    assert (row.sha256, row.size_bytes) == (sha256(video).hexdigest(), len(video))
    assert (row.num_frames, row.fps, row.width, row.height, row.seed) == (40, 8.0, 32, 32, 5)
    rows = manifest_of(out)
    for name, num_frames in (("good", 40), (rows.index[rows.source == "prompts.jsonl:2"][0], 17)):
        preview = (out / rows.loc[name].preview).read_bytes()
        assert len(list(decode(io.BytesIO(preview)))) == num_frames
    assert (out / row.thumbnail).read_bytes().startswith(b"\xff\xd8")
    assert json.loads(row.settings)["refiner.num_inference_steps"] == 4
    assert row.refine_s >= 0 and row.attempts == 1


def test_rows_have_their_own_settings_and_seeds_that_follow_from_their_ids(finished):
    rows = manifest_of(finished[0])
    (unnamed,) = rows[rows.source == "prompts.jsonl:2"].itertuples()
    snowman = rows.loc["näme/with ☃"]
    assert unnamed.Index.startswith("prompts-") and unnamed.request_sha256 != snowman.request_sha256
    assert json.loads(unnamed.settings)["refiner.coupling"] == "causal"
    assert unnamed.seed != snowman.seed and unnamed.num_frames == 17
    assert (snowman.fps, snowman.negative_prompt) == (4.0, "rain")
    assert "/" not in snowman.path.removeprefix("videos/").partition("/")[2]


def test_the_same_command_again_makes_nothing(finished):
    out, _, prompts, overrides = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    tally = run_job(prompts, out, *overrides, fail_prompt="raise")
    assert (tally.done, tally.failed, tally.skipped, tally.failed_before) == (0, 0, 3, 7)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")} == before
    assert len(manifest_of(out)) == 10


def test_other_settings_are_refused_with_both_values(finished):
    out, _, prompts, overrides = finished
    conf = load_bulk(overrides=[f"prompts={prompts}", f"out={out}", *TOY, *overrides, "seed=4"])
    with pytest.raises(ValueError, match=r"seed=3 \(now: 4\)"):
        check(conf)


def test_failed_rows_are_made_again_when_that_is_asked_for(finished):
    out, _, prompts, overrides = finished
    tally = run_job(prompts, out, *overrides, "retry_failed=true")
    assert (tally.done, tally.failed, tally.skipped) == (1, 6, 3)
    assert manifest_of(out).loc["bad"].status == "done"


def test_two_jobs_in_one_folder_are_refused(tmp_path):
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle"])
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another job is already writing there"):
            run_job(prompts, tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_frames=0", "num_frames=0 must be at least 1"),
        ("format=zip", "format=zip must be one of mp4, webdataset, videofolder"),
        ("in_flight=none", "in_flight=none"),
        ("bundle=nowhere", "bundle=nowhere is neither"),
        ("out=gopher://x", "out=gopher://x"),
        ("prompts=/nowhere/p.txt", "prompts=/nowhere/p.txt"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(tmp_path, override, message):
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle"])
    with pytest.raises(ValueError, match=message):
        check(load_bulk(overrides=[f"prompts={prompts}", f"out={tmp_path}/out", override]))


def test_videos_begin_with_the_pictures_of_their_rows(ray_cluster, tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    rows = [{"id": "plain", "prompt": "a", "seed": 1}, {"id": "red", "prompt": "a", "seed": 1, "image": "red.png"}]
    prompts = write_prompts(tmp_path / "p.jsonl", [*rows, {"id": "gone", "prompt": "a", "image": "gone.png"}])
    tally = run_job(prompts, tmp_path / "out", "num_frames=20", kill=0.05)
    assert (tally.done, tally.failed) == (2, 1)
    manifest = manifest_of(tmp_path / "out")
    assert manifest.loc["red", "image_sha256"] == sha256((tmp_path / "red.png").read_bytes()).hexdigest()
    assert "No such file" in manifest.loc["gone", "reason"]
    firsts = {name: next(decode(tmp_path / "out" / manifest.loc[name, "path"])) for name in ("plain", "red")}
    top = {name: frame[0].reshape(-1, 3).mean(0) for name, frame in firsts.items()}
    assert top["red"][0] > 180 and top["red"][1] < 80 and abs(top["plain"][0] - top["plain"][1]) < 20
    assert run_job(prompts, tmp_path / "out", "num_frames=20").skipped == 2
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "red.png")
    with pytest.raises(Refused, match="1 finished video is no longer what the prompts ask for .red from p.jsonl:2."):
        run_job(prompts, tmp_path / "out", "num_frames=20")


def test_a_webdataset_holds_every_finished_video_and_nothing_lies_about(ray_cluster, tmp_path):
    rows = [{"id": f"v.{i}", "prompt": f"a red circle {i}", "seed": i} for i in range(5)]
    prompts = write_prompts(tmp_path / "p.jsonl", [*rows, {"id": "bad"}])
    overrides = ("format=webdataset", "shard_size=4", "num_frames=9")
    run_job(prompts, tmp_path / "out", *overrides)
    shards = sorted((tmp_path / "out" / "shards").iterdir())
    members = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            members.append({name: tar.extractfile(name).read() for name in tar.getnames()})
    assert [len(one) for one in members] == [12, 3]
    names = [name for name in members[0] if name.endswith(".mp4")]
    assert all(name.count(".") == 1 for name in names)
    first = members[0][names[0]]
    assert first == local_bytes(tmp_path, PromptSpec("take", "a red circle 0", num_frames=9, seed=0))
    assert json.loads(members[0][names[0].replace(".mp4", ".json")])["prompt"] == "a red circle 0"
    assert not list((tmp_path / "out" / "videos").rglob("*.mp4"))
    bytes_before = [shard.read_bytes() for shard in shards]
    run_job(prompts, tmp_path / "out", *overrides)
    assert [shard.read_bytes() for shard in shards] == bytes_before
    assert set(manifest_of(tmp_path / "out").path.dropna().str.partition("#")[0]) == {
        "shards/000000.tar",
        "shards/000001.tar",
    }
    write_prompts(prompts, [*rows, {"id": "bad", "prompt": "good now"}])
    run_job(prompts, tmp_path / "out", *overrides, "retry_failed=true")
    with tarfile.open(shards[1]) as tar:
        assert len(tar.getnames()) == 6 and {*members[1]} < {*tar.getnames()}


@pytest.mark.report("B1", "C11")
def test_an_edited_list_gives_the_dataset_of_the_new_list(ray_cluster, tmp_path):
    rows = [{"id": f"v{i}", "prompt": f"a red circle {i}", "seed": i} for i in range(4)]
    prompts, out = write_prompts(tmp_path / "p.jsonl", rows), tmp_path / "out"
    overrides = ("format=webdataset", "shard_size=3", "num_frames=9")
    run_job(prompts, out, *overrides)
    edited = [{"id": "new", "prompt": "a ring", "seed": 9}, rows[3], {**rows[1], "seed": 7}, rows[0]]  # and v2 is gone
    write_prompts(prompts, edited)
    with pytest.raises(
        Refused, match=r"\(v1 from p.jsonl:2\) and 1 finished video is no longer in the prompts \(v2 from"
    ):
        run_job(prompts, out, *overrides)
    tally = run_job(prompts, out, *overrides, "changed=remake")
    assert (tally.total, tally.done, tally.skipped) == (4, 2, 2)
    found = {}
    for shard in (out / "shards").iterdir():
        with tarfile.open(shard) as tar:
            found |= {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".mp4")}
    made = manifest_of(out)
    assert sorted(made.index) == ["new", "v0", "v1", "v3"] and sorted(made.ordinal) == [0, 1, 2, 3]
    for row in edited:
        spec = PromptSpec("take", row["prompt"], num_frames=9, seed=row["seed"])
        assert found.pop(f"{row['id']}.mp4") == local_bytes(tmp_path, spec)
    assert not found


def test_a_videofolder_has_metadata_beside_its_videos(ray_cluster, tmp_path):
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle", "", "a blue circle"])
    run_job(prompts, tmp_path / "out", "format=videofolder", "num_frames=9")
    metadata = pd.read_parquet(tmp_path / "out" / "videos" / "metadata.parquet")
    assert list(metadata.prompt) == ["a red circle", "a blue circle"]
    assert all((tmp_path / "out" / "videos" / name).is_file() for name in metadata.file_name)


def test_a_job_writes_to_s3(ray_cluster, s3_url, tmp_path):
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle", "a blue circle"])
    out = f"{s3_url}/job"
    assert run_job(prompts, out, "num_frames=9").done == 2
    rows = pd.read_parquet(f"{out}/manifest")
    assert sorted(rows.status) == ["done", "done"]
    assert run_job(prompts, out, "num_frames=9").skipped == 2
    assert not Store(out).exists(LEASE)


def test_two_jobs_in_one_bucket_folder_are_refused(s3_url, tmp_path):
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle"])
    out = f"{s3_url}/{tmp_path.name}"
    with (
        exclusive(Store(out)),
        pytest.raises(ValueError, match=f"another job is already writing there: process {os.getpid()} on "),
    ):
        run_job(prompts, out)


def test_a_job_whose_folder_was_taken_over_ends_and_writes_no_more(ray_cluster, s3_url, tmp_path, monkeypatch):
    monkeypatch.setattr(longtake.pipelines.files.folder_lock, "TIMES", LeaseTimes(renew_s=0.1))
    prompts = write_prompts(tmp_path / "p.txt", ["a red circle"])
    out = f"{s3_url}/{tmp_path.name}"
    store = Store(out)

    lost = threading.Event()

    # Repeatedly: a holder that read just before would renew its lease over one that was written once.
    def take_over():
        while not store.exists(LEASE):
            time.sleep(0.02)
        while not lost.wait(0.02):
            store.put(LEASE, json.dumps({"token": "another", "renewed_s": time.time()}).encode())

    thread = threading.Thread(target=take_over, daemon=True)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="another job took over the folder"):
            run_job(prompts, out, "num_frames=200", seconds=0.2)
    finally:
        lost.set()
        thread.join()
    assert json.loads(store.get(LEASE))["token"] == "another" and not store.list("manifest")


def test_a_stopped_job_goes_on_inside_a_long_video_from_its_chunks(ray_cluster, tmp_path):
    prompts = write_prompts(tmp_path / "p.jsonl", [{"id": "long", "prompt": "a red circle", "seed": 1}])
    out, overrides = tmp_path / "out", ("num_frames=200", "checkpoint_chunks=true", "drain_s=5")

    def stop_when_some_are_kept():
        while len(list((out / ".checkpoints").rglob("*.npz"))) < 6:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_some_are_kept, daemon=True).start()
    with pytest.raises(Stopped, match="0 of . videos are finished"):
        run_job(prompts, out, *overrides, seconds=0.05)
    kept = len(list((out / ".checkpoints").rglob("*.npz")))
    assert kept >= 6 and not list(out.rglob("*.mp4"))
    # The base model now refuses to make the first chunks: they have to be read.
    tally = run_job(prompts, out, *overrides, "ray.writer.num_actors=3", fail_before=6)
    assert (tally.done, tally.failed) == (1, 0)
    row = manifest_of(out).loc["long"]
    assert (out / row.path).read_bytes() == local_bytes(
        tmp_path, PromptSpec("take", "a red circle", num_frames=200, seed=1)
    )
    assert not list((out / ".checkpoints").rglob("*.npz"))


def test_frames_are_the_same_while_actors_are_killed(ray_cluster, tmp_path):
    rows = [{"id": f"v{i}", "prompt": "a red circle", "num_frames": 40, "seed": i} for i in range(3)]
    prompts = write_prompts(tmp_path / "p.jsonl", rows)
    tally = run_job(prompts, tmp_path / "out", "ray.max_attempts=20", kill=0.1)
    assert tally.done == 3
    for i, row in enumerate(manifest_of(tmp_path / "out").itertuples()):
        expected = local_bytes(tmp_path, PromptSpec("take", "a red circle", num_frames=40, seed=i))
        assert (tmp_path / "out" / row.path).read_bytes() == expected
