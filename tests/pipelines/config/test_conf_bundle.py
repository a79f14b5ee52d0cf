"""Settings of the bundle beneath those of its user."""

import json
import subprocess
import sys

import pytest

from longtake.models.stages.params import BaseParams, RefinerParams
from longtake.pipelines.ablation.settings import load_ablate
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.config.conf import Conf, for_video, load, opener_folder
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.config.provenance import hash_of, video_settings, weights_of
from longtake.pipelines.dev.tiny_bundle import DEFAULTS as TINY_DEFAULTS
from longtake.pipelines.serve.settings import load_serve
from longtake.pipelines.train.settings import load_train

DEFAULTS = {
    "base.num_inference_steps": 5,
    "base.eta": 1.0,
    "plan.chunk_frames": 24,
    "base.anchor_frame": 20,
    "video.fps": 12,
}


def with_defaults(folder, **defaults):
    folder.mkdir(parents=True, exist_ok=True)
    dotted = {key.replace("__", "."): value for key, value in defaults.items()}
    (folder / "bundle.json").write_text(json.dumps({"defaults": dotted}))
    return folder


@pytest.fixture
def bundle(tmp_path):
    return with_defaults(tmp_path / "bundle", **DEFAULTS)


@pytest.fixture
def opening(bundle):
    """The bundle with an opener of its own, for which it has a setting."""
    (bundle / "opener").mkdir()
    (bundle / "opener" / "model_index.json").write_text("{}")
    return with_defaults(bundle, **DEFAULTS, opener__num_inference_steps=7)


def test_the_bundle_is_stronger_than_the_classes_and_weaker_than_all_else(bundle, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"bundle: {bundle}\nbase: {{num_inference_steps: 6}}\n")
    conf = load(path, ["plan.overlap_frames=4"], (("base.eta", 0.5),))
    assert (conf.base.num_inference_steps, conf.base.eta, conf.base.anchor_frame) == (6, 0.5, 20)
    assert (conf.plan.chunk_frames, conf.plan.overlap_frames, conf.fps) == (24, 4, 12)
    assert conf.base.guidance_scale == BaseParams().guidance_scale
    assert load(path, ["base.num_inference_steps=7"]).base.num_inference_steps == 7
    own = for_video(conf, (("base.num_inference_steps", 9),))
    assert (own.base.num_inference_steps, own.base.anchor_frame) == (9, 20)


def test_the_bundle_that_is_chosen_last_counts(bundle):
    assert load(overrides=[f"bundle={bundle}"]).base.num_inference_steps == 5
    assert load(overrides=[f"bundle={bundle}", "bundle=tiny"]).base.num_inference_steps == 8


def test_a_bundle_that_says_nothing_is_sampled_as_diffusers_does(tmp_path):
    conf = load(overrides=[f"bundle={tmp_path}"])
    assert (conf.base, conf.refiner, conf.fps) == (BaseParams(), RefinerParams(), 8)
    assert (conf.base.num_inference_steps, conf.base.guidance_scale, conf.base.guidance_rescale) == (50, 9.0, 0.0)


def test_every_command_that_reads_a_configuration_reads_the_bundles(bundle, tmp_path):
    chosen = f"bundle={bundle}"
    for conf in (
        load_bulk(overrides=[chosen, "prompts=x", "out=y"]),
        load_serve(overrides=[chosen]),
        load_serve(settings=(("bundle", str(bundle)),)),
        load_ablate(overrides=[chosen, f"out={tmp_path}"]),
    ):
        assert (conf.base.num_inference_steps, conf.fps) == (5, 12)
    sheets = load_train(overrides=[chosen, "manifest=x", "out=y"])
    assert sheets.base.num_inference_steps == 5 and not hasattr(sheets, "video")


def test_a_video_that_is_enhanced_keeps_its_rate(bundle):
    chosen = [f"bundle={bundle}"]
    assert load(overrides=chosen, enhances=True).video.fps is None
    assert load(overrides=[*chosen, "video.fps=5"], enhances=True).video.fps == 5


def test_records_show_the_bundles_settings(bundle):
    settings = video_settings(load(overrides=[f"bundle={bundle}"]))
    assert settings.items() >= DEFAULTS.items()
    assert not any(key.startswith("opener.") for key in settings)


def test_the_hash_of_weights_is_of_weights(bundle, tmp_path):
    before = hash_of(bundle)
    with_defaults(bundle)
    assert hash_of(bundle) == before
    (bundle / "unet").mkdir()
    (bundle / "unet" / "config.json").write_text("{}")
    assert hash_of(bundle) != before


def test_the_shipped_bundle_has_the_defaults_that_its_recipe_writes():
    own = json.loads((bundle_path("tiny") / "bundle.json").read_text())["defaults"]
    assert own == TINY_DEFAULTS and video_settings(load()).items() >= own.items()


def test_an_opener_in_the_bundle_opens_unless_it_is_switched_off(opening):
    chosen = [f"bundle={opening}"]
    conf = load(overrides=chosen)
    assert (conf.opener.model, conf.opener.num_inference_steps) == ("bundle", 7)
    assert opener_folder(conf) == opening / "opener" and weights_of(conf) == hash_of(opening)
    assert video_settings(conf)["opener.num_inference_steps"] == 7
    off = load(overrides=[*chosen, "opener.model=null"])
    assert off.opener.model is None and off.opener == Conf().opener


def test_an_opener_from_elsewhere_has_its_own_settings_and_weights(opening, tmp_path):
    other = with_defaults(tmp_path / "other", opener__eta=0.5, base__eta=0.25)
    conf = load(overrides=[f"bundle={opening}", f"opener.model={other}"])
    assert (conf.opener.sampling().num_inference_steps, conf.opener.eta, conf.base.eta) == (50, 0.5, 1.0)
    before = weights_of(conf)
    (other / "weights").write_text("x")
    assert len({before, weights_of(conf), hash_of(opening)}) == 3


def test_an_opener_that_is_not_there_is_named(tmp_path):
    for model, says in (("/no/where", "neither a folder"), ("bundle", "has no folder opener/")):
        with pytest.raises(ValueError, match=f"^opener.model={model}.*{says}"):
            opener_folder(load(overrides=[f"opener.model={model}"]))
    with pytest.raises(ValueError, match=r"^opener.num_inference_steps=5 has no effect without opener.model=FOLDER"):
        load(overrides=["opener.num_inference_steps=5"])


def test_a_model_cannot_differ_between_the_videos_of_a_job(opening):
    with pytest.raises(ValueError, match=r"^opener.model=x cannot differ from video to video: it decides what"):
        for_video(load(overrides=[f"bundle={opening}"]), (("opener.model", "x"),))


def test_the_refiners_folder_is_beneath_the_bundle_that_holds_it(bundle):
    with_defaults(bundle / "refiner", refiner__strength=0.4, refiner__eta=0.5, base__eta=0.1)
    assert load(overrides=[f"bundle={bundle}"]).refiner.strength == 0.4
    with_defaults(bundle, refiner__strength=0.3)
    conf = load(overrides=[f"bundle={bundle}"])
    assert (conf.refiner.strength, conf.refiner.eta, conf.base.eta) == (0.3, 0.5, 0.0)


def test_reading_a_configuration_imports_no_torch(bundle):
    code = f"""
import sys
from longtake.pipelines.config.conf import load
load(overrides=["bundle={bundle}"])
print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
