"""Settings beyond a bundle's limits are refused before its weights are loaded: in one line, or in one row of a job."""

import json
import shutil

import pytest

from longtake.models.nets.sizes import SideRule, SizeRule
from longtake.pipelines.__main__ import main
from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.config.conf import load
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.datasets.prompt_rows import PromptRow
from longtake.pipelines.runners.bundle_limits import limits_of

PROMPT = "a red circle moves right"
WRONG = [
    ("refiner.height=100", "refiner.height=100 must be a multiple of 8, such as 96 or 104"),
    ("base.height=100", "base.height=100 must be a multiple of 8, such as 96 or 104"),
    ("refiner.width=4", "refiner.width=4 must be a multiple of 8, such as 8"),
    (
        "refiner.num_inference_steps=600",
        "refiner.num_inference_steps=600 must be in 1..250, as strength=0.25 leaves 250",
    ),
    ("base.num_inference_steps=1001", "base.num_inference_steps=1001 must be in 1..1000"),
]


def test_limits_are_those_of_the_shipped_networks():
    limits = limits_of(load())
    assert limits.sizes == limits.base_sizes.rule == SizeRule(SideRule(8), SideRule(8))
    assert limits.base_sizes.size(load().base) == (64, 64)
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


def test_the_work_of_a_video_is_what_its_stages_compute():
    """A square picture in a wide frame: bars are no work."""
    wide = ("refiner.width=256", "base.num_inference_steps=2", "refiner.fit=")
    costs = {fit: limits_of(load()).costs(load(overrides=[*wide[:-1], wide[-1] + fit])) for fit in ("cover", "contain")}
    assert costs == {"cover": (16 * 2 * 64 * 64, 24 * 128 * 256), "contain": (16 * 2 * 64 * 64, 24 * 128 * 128)}


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
    with pytest.raises(ValueError, match=f"^opener.model={tmp_path}: .*unet='AutoencoderKL' must be one of UNet3D"):
        limits_of(load(overrides=[f"opener.model={tmp_path}"]))


def test_a_bundle_without_configs_is_named(published, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"bundle=.* is not a bundle: there is no model_index.json"):
        limits_of(load(overrides=[f"bundle={tmp_path / 'empty'}"]))
    conf = load(overrides=[f"bundle={published}"])
    for part, says in (("refiner", "lacks 'up_block_types'"), ("vae", "lacks 'block_out_channels'")):
        (published / part / "config.json").write_text("{}")
        with pytest.raises(ValueError, match=says):
            limits_of(conf)
    (published / "vae" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"bundle part .*vae cannot be read"):
        limits_of(conf)


@pytest.fixture
def published(tmp_path):
    """The tiny bundle with the class of MS-Vid2Vid-XL as its refiner."""
    folder = tmp_path / "published"
    shutil.copytree(bundle_path("tiny"), folder)
    change_json(folder / "model_index.json", refiner=["longtake", "Vid2VidUNet"])
    change_json(folder / "refiner" / "config.json", _class_name="Vid2VidUNet", up_block_types=["UpBlock3D"] * 4)
    return folder


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (1280, 720, None),
        (1280, 784, None),
        (704, 720, None),
        (720, 720, "refiner.width=720 must be a multiple of 64, such as 704 or 768"),
        (720, 1280, "refiner.height=1280 must be a multiple of 64 plus 16, such as 1232 or 1296"),
        (1024, 576, "refiner.height=576 must be a multiple of 64 plus 16, such as 528 or 592"),
    ],
)
def test_the_published_refiner_has_sizes_of_its_own(published, width, height, says):
    sizes = (f"refiner.height={height}", f"refiner.width={width}")
    conf = load(overrides=[f"bundle={published}", *sizes])
    if says is None:
        limits_of(conf).check(conf)
    else:
        with pytest.raises(ValueError, match=says):
            limits_of(conf).check(conf)
    tiny = load(overrides=sizes)
    limits_of(tiny).check(tiny)


def test_a_refiner_of_another_class_than_its_config_says_is_refused_before_anything_is_loaded(published):
    change_json(published / "model_index.json", refiner=["diffusers", "UNet3DConditionModel"])
    says = "it is a Vid2VidUNet in config.json, a UNet3DConditionModel in model_index.json"
    with pytest.raises(ValueError, match=says):
        limits_of(load(overrides=[f"bundle={published}"]))
