"""Rows of a bulk job that continue videos: the bytes of `longtake extend`."""

import json
import os
import signal
import threading
import time
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from longtake.models.video.mp4 import decode
from longtake.pipelines.__main__ import main
from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.command import run
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.runners import stages
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.signals import Stopped
from tests.support.bulk_driver import run_job
from tests.support.toy import ToyBundle
from tests.support.videos import levels, noise, video

pytestmark = pytest.mark.xdist_group("ray")
PROMPT, NTSC = "a red circle", Fraction(30000, 1001)
SIZE = ("refiner.num_inference_steps=4", "refiner.height=32", "refiner.width=32")
FAST = ("base.num_inference_steps=2", "refiner.num_inference_steps=2", "refiner.height=32", "refiner.width=32")


@pytest.fixture
def folder(tmp_path):
    """With a.mkv, 60 frames that have sound, and b.mp4, whose rate is no whole number."""
    (tmp_path / "a.mkv").write_bytes(video(noise(60, 48, 64), sound=("aac", 44100)).getvalue())
    (tmp_path / "b.mp4").write_bytes(video(levels(21), "mp4", rate=NTSC).getvalue())
    return tmp_path


def write_prompts(folder, rows):
    (folder / "p.jsonl").write_text("".join(json.dumps({"prompt": PROMPT, "seed": 5, **row}) + "\n" for row in rows))
    return folder / "p.jsonl"


def manifest_of(out):
    return pd.read_parquet(f"{out}/manifest").set_index("id").sort_values("ordinal")


def extended(source, num_frames, *settings):
    """The file of `longtake extend` with its local runner."""
    argv = ["--prompt", PROMPT, "--num-frames", str(num_frames), "--seed", "5", "--out", f"{source}.mp4", *settings]
    assert main(["extend", str(source), *argv]) == 0
    return source.with_name(f"{source.name}.mp4").read_bytes()


def test_its_bytes_are_those_of_the_command(ray_cluster, random_bundle, folder, caplog):
    """On networks, which take seconds to load: toys do not depend on what they continue."""
    rows = [{"id": "a", "video": "a.mkv"}, {"id": "b", "video": "b.mp4", "num_frames": 30}, {"id": "new"}]
    bundle, out = f"bundle={random_bundle}", folder / "out"
    job = [f"prompts={write_prompts(folder, rows)}", f"out={out}", "num_frames=20", "tracking.enabled=false"]
    tally = run(check(load_bulk(overrides=[*job, bundle, *FAST])))
    assert (tally.done, tally.failed) == (3, 0)
    made = manifest_of(out)
    for id, name, num_frames in (("a", "a.mkv", 20), ("b", "b.mp4", 30)):
        assert (out / made.path[id]).read_bytes() == extended(folder / name, num_frames, bundle, *FAST)
    assert (made.num_frames["a"], made.extends_frames["a"], made.fps["a"], made.width["a"]) == (80, 60, 24.0, 64)
    assert "its sound ends with it: the 20 new frames are silent" in made.extends_notes["a"]
    assert [record.getMessage() for record in caplog.records if "id=a " in record.getMessage()]
    assert main(["regenerate", "a", "--manifest", str(out), "--out", str(folder / "again.mp4")]) == 0


def test_a_row_that_cannot_be_continued_fails_and_no_other(ray_cluster, folder, monkeypatch):
    monkeypatch.setattr(stages, "build_bundle", lambda conf: ToyBundle())
    (folder / "text.mp4").write_text("no video")
    (folder / "a.png").write_bytes(b"")
    names = {"good": "a.mkv", "gone": "gone.mp4", "text": "text.mp4"}
    rows = [{"id": id, "video": name} for id, name in names.items()]
    rows += [{"id": "both", "video": "a.mkv", "image": "a.png"}, {"id": "new"}]
    out, overrides = folder / "out", ("num_frames=20", "previews=true", "thumbnails=true", "ray.max_attempts=20")
    tally = run_job(write_prompts(folder, rows), out, *overrides, kill=0.05)
    assert (tally.done, tally.failed) == (2, 3)
    made = manifest_of(out)
    assert (out / made.path["good"]).read_bytes() == extended(folder / "a.mkv", 20, *SIZE)
    assert (out / made.thumbnail["good"]).exists() and pd.isna(made.preview["good"]) and made.preview["new"]
    for id, why in {"gone": "No such file", "text": "cannot be read as a video", "both": "not both"}.items():
        assert why in made.reason[id]


def test_a_row_whose_video_changed_is_another_row(ray_cluster, folder, monkeypatch):
    monkeypatch.setattr(stages, "build_bundle", lambda conf: ToyBundle())
    prompts, out = write_prompts(folder, [{"id": "b", "video": "b.mp4"}]), folder / "out"
    assert run_job(prompts, out, "num_frames=9").done == 1
    assert run_job(prompts, out, "num_frames=9").skipped == 1
    (folder / "b.mp4").write_bytes(video(levels(22), "mp4", rate=NTSC).getvalue())
    with pytest.raises(Refused, match="1 finished video is no longer what the prompts ask for .b from p.jsonl:1."):
        run_job(prompts, out, "num_frames=9")
    assert run_job(prompts, out, "num_frames=9", "changed=keep").skipped == 1
    assert run_job(prompts, out, "num_frames=9", "changed=remake").done == 1
    row = manifest_of(out).loc["b"]
    assert (row.num_frames, row.extends_frames) == (31, 22)
    assert (out / row.path).read_bytes() == extended(folder / "b.mp4", 9, *SIZE)


def test_a_stopped_job_goes_on_inside_a_continuation_to_the_same_bytes(ray_cluster, folder, monkeypatch):
    monkeypatch.setattr(stages, "build_bundle", lambda conf: ToyBundle())
    prompts, out = write_prompts(folder, [{"id": "a", "video": "a.mkv"}]), folder / "out"
    overrides = ("num_frames=120", "checkpoint_chunks=true", "drain_s=5")

    def stop_when_some_are_kept():
        while len(list((out / ".checkpoints").rglob("*.npz"))) < 4:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_some_are_kept, daemon=True).start()
    with pytest.raises(Stopped, match="0 of . videos are finished"):
        run_job(prompts, out, *overrides, seconds=0.05)
    assert run_job(prompts, out, *overrides).done == 1
    row = manifest_of(out).loc["a"]
    assert (out / row.path).read_bytes() == extended(folder / "a.mkv", 120, *SIZE)
    assert len(list(decode(out / row.path))) == 180 and not list((out / ".checkpoints").rglob("*.npz"))


def test_quality_limits_are_of_new_frames(ray_cluster, folder):
    """The frames that exist have a cut at each of them, and stand still for the models."""
    still = np.repeat(levels(24)[8:9], 40, axis=0)
    (folder / "still.mp4").write_bytes(video(still, "mp4").getvalue())
    rows = [{"id": "cuts", "video": "a.mkv"}, {"id": "still", "video": "still.mp4"}]
    limits = ("quality.max_scuts=0", "quality.min_motion=0.001")
    assert run_job(write_prompts(folder, rows), folder / "out", "num_frames=20", *limits).done == 2
