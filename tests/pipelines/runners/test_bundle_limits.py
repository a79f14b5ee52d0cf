"""Settings beyond a bundle's limits are refused before its weights are loaded: in one line, or in one row of a job."""

import json
import shutil

import pytest

from longtake.pipelines.__main__ import main
from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.config.conf import load
from longtake.pipelines.config.paths import bundle_path
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.runners.bundle_limits import limits_of

PROMPT = "a red circle moves right"
WRONG = [
    ("refiner.height=100", "refiner.height=100 must be a multiple of 16, such as 96 or 112"),
    ("refiner.width=8", "refiner.width=8 must be a multiple of 16, such as 16"),
    (
        "refiner.num_inference_steps=600",
        "refiner.num_inference_steps=600 must be in 1..250, as strength=0.25 leaves 250",
    ),
    ("base.num_inference_steps=1001", "base.num_inference_steps=1001 must be in 1..1000"),
]


def test_limits_are_those_of_the_shipped_networks():
    limits = limits_of(load())
    assert limits.size_multiple == 16
    limits.check(load())


@pytest.mark.parametrize(("setting", "says"), WRONG)
def test_settings_beyond_them_are_named(setting, says):
    with pytest.raises(ValueError, match=says):
        limits_of(load()).check(load(overrides=[setting]))


@pytest.mark.parametrize(("setting", "says"), WRONG)
def test_a_command_that_would_start_actors_says_so_before(tmp_path, capsys, setting, says):
    (tmp_path / "prompts.txt").write_text(PROMPT)
    bulk = ("bulk", f"prompts={tmp_path}/prompts.txt", f"out={tmp_path}/out", setting)
    for argv in (bulk, ("generate", PROMPT, "--runner", "ray", "--out", f"{tmp_path}/x.mp4", setting)):
        assert main(argv) == 2
        assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


@pytest.mark.parametrize(("setting", "says"), WRONG)
def test_a_row_of_a_job_that_asks_for_them_is_refused_as_a_row(tmp_path, setting, says):
    checker = RowChecker(load_bulk(overrides=["prompts=x", "out=y"]), "ab" * 32)
    name, _, value = setting.partition("=")
    row = checker.check(PromptRow("x:1", {"prompt": PROMPT, name: int(value)}, None)).record
    assert row.status == "failed" and says in row.reason


def test_an_opener_that_cannot_be_one_is_named(random_opener, tmp_path):
    good = [f"opener.model={random_opener}", "opener.num_inference_steps=499"]
    limits_of(load(overrides=good)).check(load(overrides=good))
    for sampler, most in (("dpmpp_2m", 999), ("ddim", 1000)):
        wrong = load(overrides=[good[0], "opener.num_inference_steps=1001", f"opener.sampler={sampler}"])
        with pytest.raises(ValueError, match=rf"^opener.num_inference_steps=1001 must be in 1\.\.{most},"):
            limits_of(wrong).check(wrong)
    with pytest.raises(ValueError, match=f"^opener.model={tmp_path}: .* is not a bundle: there is no model_index.json"):
        limits_of(load(overrides=[f"opener.model={tmp_path}"]))
    index = {name: ["diffusers", "AutoencoderKL"] for name in ("unet", "vae", "tokenizer", "text_encoder", "scheduler")}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"^opener.model={tmp_path}: its unet is a AutoencoderKL, and must be"):
        limits_of(load(overrides=[f"opener.model={tmp_path}"]))


def test_a_bundle_without_configs_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"bundle=.* is not a bundle: there is no model_index.json"):
        limits_of(load(overrides=[f"bundle={tmp_path}"]))
    shutil.copy(bundle_path("tiny") / "model_index.json", tmp_path)
    with pytest.raises(ValueError, match=r"bundle part .*vae cannot be read"):
        limits_of(load(overrides=[f"bundle={tmp_path}"]))
    for part, text in (("vae", '{"block_out_channels": [1]}'), ("refiner", "{}")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(text)
    with pytest.raises(ValueError, match="a network config lacks 'up_block_types'"):
        limits_of(load(overrides=[f"bundle={tmp_path}"]))
