"""`longtake ablate`, on untrained networks: videos, metrics, resumption and results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.__main__ import main
from longtake.pipelines.ablation import command as ablate
from longtake.pipelines.ablation.command import load_frames, measured, run
from longtake.pipelines.ablation.jobs import BEGIN, END, check, jobs_of
from longtake.pipelines.ablation.prompts import read_prompts
from longtake.pipelines.ablation.settings import VARIANTS, Kind, load_ablate
from longtake.pipelines.ablation.video_maker import VideoMaker
from longtake.pipelines.config.conf import for_video

SMALL = ("base.num_inference_steps=1", "refiner.num_inference_steps=1", "refiner.height=32", "refiner.width=32")


@pytest.fixture(scope="module")
def conf(random_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablate")
    (folder / "prompts.txt").write_text("a red circle\n\na blue ring\n")
    (folder / "out").mkdir()
    (folder / "out" / "ablations.md").write_text(f"# mine\n{BEGIN}figures of yesterday\n{END}\nafter\n")
    places = [f"work={folder / 'work'}", f"out={folder / 'out'}", f"prompts={folder / 'prompts.txt'}"]
    own = [
        "num_frames=20",
        "workers=1",
        "flow_size=32",
        "variants=[last-frame, added, shared-noise, independent, overlap-4]",
    ]
    return load_ablate(overrides=[f"bundle={random_bundle}", *SMALL, *places, *own])


@pytest.fixture(scope="module")
def done(conf, tmp_path_factory):
    run(check(conf))
    return conf


def written(conf):
    return [json.loads(line) for line in (Path(conf.out) / "ablations.jsonl").read_text().splitlines()]


def test_every_variant_of_every_prompt_has_one_row_and_what_it_is_compared_with_is_there(done):
    rows = written(done)
    names = ["full", "added", "last-frame", "symmetric", "shared-noise", "independent", "overlap-4"]
    assert [(row["index"], row["variant"]) for row in rows] == [(i, name) for i in (0, 1) for name in names]
    assert {row["prompt"] for row in rows} == {"a red circle", "a blue ring"}
    assert all(row["num_frames"] == 20 and row["flow_std"] >= 0 and row["clip_score"] is not None for row in rows)
    assert {row["width"] for row in rows} == {32} and "curve" not in rows[0]


def test_the_page_has_claims_and_tables_and_keeps_what_people_wrote(done):
    text = (Path(done.out) / "ablations.md").read_text()
    assert text.startswith("# mine\n") and text.endswith("after\n") and "yesterday" not in text
    for word in (
        "independent > symmetric",
        "2 prompts of 20 frames",
        "| scene cuts (SCuts) | lower |",
        "### Refinement",
        "**The order independent > shared-noise > symmetric**",
    ):
        assert word in text
    for name in ("ablations.png", "ablations-order.png", "ablations-frames.jpg"):
        assert f"]({name})" in text and (Path(done.out) / name).stat().st_size > 1000


def test_what_is_there_is_not_made_again(done, monkeypatch):
    before = written(done)
    monkeypatch.setattr(VideoMaker, "make", None)
    monkeypatch.setattr(VideoMaker, "low", None)
    monkeypatch.setattr(ablate, "measure", None)
    run(check(done))
    assert written(done) == before


@pytest.mark.report("B16")
def test_a_video_whose_figures_are_missing_is_measured_again_to_the_same_and_the_places_are_said(done, monkeypatch):
    before = written(done)
    lost = next(Path(done.work).glob("*/independent/000-*.json"))
    lost.unlink()
    monkeypatch.setattr(VideoMaker, "make", None)
    said = run(check(done))
    assert written(done) == before
    assert f"{done.out}: 14 videos of 2 prompts compared, 1 of them measured now" in said
    assert f"see {done.out}/ablations.md" in said and f"videos are in {done.work}/" in said


def test_a_video_that_is_made_again_has_the_same_frames(done):
    path = next(Path(done.work).glob("*/overlap-4/001-*.npz"))
    frames = load_frames(path)
    path.unlink()
    next(path.parent.glob("001-*.json")).unlink()
    run(check(done))
    assert np.array_equal(load_frames(path), frames)


def test_the_refined_variants_have_the_frames_of_the_runner_that_makes_their_own_chunks(done):
    from longtake.pipelines.runners.stages import build_generator

    maker, spec = VideoMaker(done), PromptSpec("1", "a blue ring", num_frames=20, seed=done.seed + 1)
    conf = for_video(done, VARIANTS["overlap-4"].settings)
    expected = np.concatenate([segment.frames for segment in build_generator(conf, maker.bundle).stream(spec)])
    path = next(Path(done.work).glob("*/overlap-4/001-*.npz"))
    assert np.array_equal(load_frames(path), expected)


def test_the_low_resolution_video_reaches_to_the_end_of_every_window(conf):
    plans = [Plan(80, for_video(conf, v.settings).plan) for v in VARIANTS.values() if v.kind is Kind.REFINED]
    assert {plan.params.overlap_frames for plan in plans} == {4, 8, 12}
    assert len({plan.chunks[-1].stop for plan in plans}) == 1  # for 80 frames one low-resolution video serves all


def test_a_judge_adds_figures_once_and_leaves_the_others_alone(done):
    before, calls = measured(check(done)), []

    def brightness(prompt, frames):
        calls.append(prompt)
        return {"bright": bool(frames.mean() > 0)}

    judged = [measured(check(done), brightness) for _ in range(2)]
    assert judged[0] == judged[1] == [{**row, "bright": True} for row in before]
    assert len(calls) == len(before) and measured(check(done)) == before


def test_other_settings_are_other_videos(conf):
    one, other = (jobs_of(c)[0].folder for c in (conf, replace(conf, base=replace(conf.base, guidance_scale=3.0))))
    assert one != other and one == jobs_of(replace(conf, num_prompts=1))[0].folder


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("num_prompts=0", "num_prompts=0 must be at least 1"),
        ("variants=[half]", "variants=half: must be among full, no-cam"),
        ("variants=[svd]", "needs diffusers.svd=FOLDER"),
        ("seed=-1", "seed=-1 must be at least 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name_and_value(setting, words):
    with pytest.raises(ValueError) as error:
        load_ablate(overrides=["out=x", setting])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["num_prompts=0"], "num_prompts=0 must be at least 1"),
        (["num_prompts=65"], "num_prompts=65 must be at most 64: training used the other captions"),
        (["bundle=nowhere"], "bundle=nowhere is neither"),
        (["prompts=nowhere.txt"], "prompts=nowhere.txt cannot be read"),
        (["diffusers.svd=nowhere"], "diffusers.svd=nowhere is not a diffusers pipeline"),
    ],
)
def test_the_command_refuses_before_anything_is_made(words, said, capsys, tmp_path):
    assert main(["ablate", *words, f"work={tmp_path / 'work'}", f"out={tmp_path}"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_prompts_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    for path in ("none.txt", "empty.txt"):
        with pytest.raises(ValueError, match=r"prompts=.*\.txt"):
            read_prompts(str(tmp_path / path))


def test_a_page_without_markers_is_not_written_over(done, tmp_path):
    (tmp_path / "ablations.md").write_text("nothing of ours")
    with pytest.raises(ValueError, match="to write between"):
        check(replace(done, out=str(tmp_path)))
    assert (tmp_path / "ablations.md").read_text() == "nothing of ours"
