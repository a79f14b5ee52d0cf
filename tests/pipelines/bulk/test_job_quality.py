"""A bulk job that measures its videos while it makes them. Toy videos of odd seeds are spoilt from frame 16 on."""

import json
import os
import signal
import threading
import time

import pandas as pd
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.metrics.gate import measure
from longtake.models.metrics.quality import seed_of
from longtake.pipelines.bulk.regenerate import find
from longtake.pipelines.terminal.signals import Stopped
from tests.pipelines.bulk.test_command import local_bytes, manifest_of, write_prompts
from tests.support.bulk_driver import run_job
from tests.support.ray_toys import SpoiltBase
from tests.support.toy import ToyBase

pytestmark = pytest.mark.xdist_group("ray")

# The seeds of the second and third attempt are odd as well, that of the fourth is even.
ODD = next(seed for seed in range(1, 999, 2) if [seed_of(seed, attempt) % 2 for attempt in (1, 2, 3)] == [1, 1, 0])
NO_CUTS = ("num_frames=40", "quality.max_scuts=0", "quality.max_drift=1")


def prompts_in(folder, *seeds):
    rows = [{"id": f"v{seed}", "prompt": "a red circle", "seed": seed} for seed in seeds]
    return write_prompts(folder / "p.jsonl", rows)


def tried(row):
    return json.loads(row.quality)


def test_a_bad_video_is_stopped_before_any_of_its_windows_is_refined(ray_cluster, tmp_path):
    tally = run_job(prompts_in(tmp_path, 1), tmp_path / "out", *NO_CUTS, "previews=true", spoil="cut")
    assert (tally.done, tally.failed, tally.rejected, tally.windows) == (0, 1, 1, 0)
    row = manifest_of(tmp_path / "out").loc["v1"]
    assert row.reason == "scuts=1 in the first 24 frames breaks quality.max_scuts=0"
    (attempt,) = tried(row)
    assert attempt["seed"] == 1 and attempt["num_frames"] == 24 and attempt["scuts"] == 1
    assert attempt["reason"] == row.reason and 0 < attempt["motion"] < 1 and attempt["drift"] > 0.3
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_a_flagged_video_is_made_and_its_row_says_why(ray_cluster, tmp_path):
    prompts = prompts_in(tmp_path, 1, 2)
    tally = run_job(prompts, tmp_path / "out", *NO_CUTS, "quality.on_failure=flag", spoil="cut")
    assert (tally.done, tally.flagged, tally.rejected) == (2, 1, 0)
    rows = manifest_of(tmp_path / "out")
    assert rows.loc["v1"].flagged == "scuts=1 in the first 40 frames breaks quality.max_scuts=0"
    assert tried(rows.loc["v1"])[0]["reason"] == rows.loc["v1"].flagged
    assert pd.isna(rows.loc["v2"].flagged) and tried(rows.loc["v2"])[0]["reason"] is None
    assert tried(rows.loc["v2"])[0]["num_frames"] == 40
    spec = PromptSpec("take", "a red circle", num_frames=40, seed=2)
    assert (tmp_path / "out" / rows.loc["v2"].path).read_bytes() == local_bytes(tmp_path, spec)


def check_reseeded(folder, out):
    row = manifest_of(out).loc[f"v{ODD}"]
    seeds = [seed_of(ODD, attempt) for attempt in range(4)]
    assert [attempt["seed"] for attempt in tried(row)] == seeds
    assert [attempt["reason"] is None for attempt in tried(row)] == [False, False, False, True]
    assert (row.seed, row.asked_seed, row.attempts) == (seeds[3], ODD, 1)
    spec = PromptSpec("take", "a red circle", num_frames=40, seed=seeds[3])
    assert (out / row.path).read_bytes() == local_bytes(folder, spec)
    return row


def test_a_reseeded_video_is_the_same_after_a_stop_and_can_be_made_again(ray_cluster, tmp_path):
    prompts, how = prompts_in(tmp_path, ODD), (*NO_CUTS, "quality.on_failure=reseed", "checkpoint_chunks=true")
    tally = run_job(prompts, tmp_path / "left alone", *how, spoil="cut")
    assert (tally.done, tally.rejected) == (1, 3)
    expected = check_reseeded(tmp_path, tmp_path / "left alone")

    out = tmp_path / "stopped"

    def stop_at_the_second_seed():
        while len(list((out / ".checkpoints").glob("*/*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_at_the_second_seed, daemon=True).start()
    with pytest.raises(Stopped, match="0 of . videos are finished"):
        run_job(prompts, out, *how, spoil="cut", seconds=0.3)
    run_job(prompts, out, *how, spoil="cut")
    row = check_reseeded(tmp_path, out)
    assert row.quality == expected.quality and row.sha256 == expected.sha256
    found, conf = find(str(out), f"v{ODD}")  # the input of `longtake regenerate`
    assert found.seed == seed_of(ODD, 3) and conf.refiner.height == 32


def test_when_all_seeds_are_used_up_the_video_fails_and_every_seed_is_told(ray_cluster, tmp_path):
    how = ("quality.on_failure=reseed", "quality.max_reseeds=2")
    tally = run_job(prompts_in(tmp_path, ODD, 2), tmp_path / "out", *NO_CUTS, *how, spoil="cut")
    assert (tally.done, tally.failed, tally.rejected) == (1, 1, 3)
    row = manifest_of(tmp_path / "out").loc[f"v{ODD}"]
    assert [attempt["seed"] for attempt in tried(row)] == [seed_of(ODD, attempt) for attempt in range(3)]
    assert row.asked_seed == ODD and row.reason == tried(row)[-1]["reason"]


def test_black_frames_always_stop_a_video_and_another_seed_may_help(ray_cluster, tmp_path):
    black = "frames: frame 16 is black, none of its values is above 8 of 255"
    tally = run_job(prompts_in(tmp_path, 1, 2), tmp_path / "plain", "num_frames=40", spoil="black")
    assert (tally.done, tally.failed) == (1, 1)
    row = manifest_of(tmp_path / "plain").loc["v1"]
    assert row.reason == black and tried(row) == [{"seed": 1, "reason": black}]
    how = ("num_frames=40", "quality.on_failure=reseed", "quality.max_scuts=40")  # as many as there are frames
    assert run_job(prompts_in(tmp_path, ODD), tmp_path / "reseed", *how, spoil="black").done == 1
    assert [attempt["reason"] for attempt in tried(check_reseeded(tmp_path, tmp_path / "reseed"))] == [black] * 3 + [
        None
    ]


def test_figures_are_those_of_the_chunks_also_while_actors_are_killed(ray_cluster, tmp_path):
    how = (*NO_CUTS, "quality.on_failure=flag", "ray.max_attempts=20")
    assert run_job(prompts_in(tmp_path, 1), tmp_path / "out", *how, kill=0.1, spoil="cut").done == 1
    base, measured = SpoiltBase(ToyBase(), "cut"), None
    spec, plan = PromptSpec("v1", "a red circle", num_frames=40, seed=1), Plan(40, PlanParams())
    for index in range(len(plan.chunks)):
        measured = measure(measured, base.advance(spec, plan, index, None)[1].frames)
    (attempt,) = tried(manifest_of(tmp_path / "out").loc["v1"])
    assert {**attempt, "reason": None} == {"seed": 1, **measured.figures.plain(), "reason": None}
