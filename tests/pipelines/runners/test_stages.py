"""Frames that are nothing to show end their video before they become pixels or cost more work."""

import numpy as np
import pytest
import torch

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams, RefinerParams
from longtake.models.stages.refiner import Refiner
from longtake.models.stages.refiner_nets import BundleRefinerNets
from longtake.models.video.frame_checks import BLACK, BadFrames, check_not_black
from longtake.models.video.frames import check_finite
from longtake.pipelines.config.conf import load
from longtake.pipelines.runners import stages as build
from tests.models.stages.test_refiner import SCHEDULE, ToyNets
from tests.support.hub import into_cache, python
from tests.support.pipelines import halved
from tests.support.video_pipelines import animate_diff, write_pipeline

PLAN = Plan(20, PlanParams())
SPEC = PromptSpec("v", "a large red circle moves right", num_frames=20)
OPENED = """
from longtake.pipelines.config.conf import load
from longtake.pipelines.runners.bundle_limits import settled
from longtake.pipelines.runners.stages import build_bundle
print(type(build_bundle(settled(load(overrides={}))).opener.pipeline).__name__)
"""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_frames_with_a_value_that_is_no_number_are_counted(value):
    images = torch.zeros(5, 3, 4, 4)
    check_finite(images)
    images[1, 0, 0, 0] = images[3, 2, 1, 1] = value
    with pytest.raises(BadFrames, match="frames: 2 of 5 contain NaN or infinite values"):
        check_finite(images)


def test_a_frame_is_black_when_no_value_is_above_the_limit():
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[:, 3, 3, 2] = [200, BLACK + 1, BLACK, 0]
    check_not_black(frames[:2], 40)
    with pytest.raises(BadFrames, match="frame 42 is black"):
        check_not_black(frames, 40)


@pytest.mark.parametrize("weight", ["unet.conv_out.weight", "vae.decoder.conv_out.weight"])
def test_a_base_model_that_says_nan_raises_instead_of_making_pixels(random_bundle, weight):
    bundle = load_bundle(random_bundle)
    part, _, name = weight.partition(".")
    with torch.no_grad():
        bundle.parts[part].get_parameter(name).fill_(float("nan"))
    with pytest.raises(BadFrames, match="frames: 16 of 16 contain NaN"):
        bundle.base_model(BaseParams(num_inference_steps=2)).advance(SPEC, PLAN, 0, None)


class NanNets(ToyNets):
    def predict(self, x, timestep, prompt, negative_prompt, /):
        return super().predict(x, timestep, prompt, negative_prompt) * float("nan")


def test_a_refiner_whose_prediction_is_nan_raises_at_its_first_step():
    chunks = [Chunk(span, np.full((len(span), 8, 8, 3), 99, np.uint8)) for span in PLAN.chunks]
    refiner = Refiner(NanNets(), SCHEDULE, RefinerParams(height=8, width=8))
    with pytest.raises(BadFrames, match="24 of 24 contain NaN"):
        refiner.advance(SPEC, PLAN, 0, Span(0, 1), None, *chunks)


class Dark:
    """A stage, and a bundle of it, whose frames are black."""

    def advance(self, spec, plan, index, memory, /):
        return None, Chunk(plan.chunks[index], np.zeros((len(plan.chunks[index]), 8, 8, 3), np.uint8))

    def base_model(self, params, opening):
        return self

    def refiner(self, params):
        return self


def test_a_refiner_warms_up_on_frames_of_the_shape_that_it_will_get(random_bundle, monkeypatch):
    sizes = ("base.height=16", "base.width=32", "refiner.height=64", "refiner.width=64", "refiner.fit=contain")
    conf = load(overrides=[f"bundle={random_bundle}", *sizes])
    stage, seen = build.BundleStage(conf, load_bundle(random_bundle), StageName.REFINE), []
    encode = BundleRefinerNets.encode
    monkeypatch.setattr(
        BundleRefinerNets, "encode", lambda self, x: seen.append(tuple(x.shape[-2:])) or encode(self, x)
    )
    stage.warm_up()
    assert set(seen) == {(32, 64)}


def test_a_video_is_the_same_whether_a_network_is_loaded_once_or_twice(
    random_bundle, copy_of_random_bundle, monkeypatch
):
    small = ("base.num_inference_steps=1", "refiner.num_inference_steps=1", "refiner.height=64", "refiner.width=64")
    conf = load(overrides=[f"bundle={random_bundle}", f"refiner.model={copy_of_random_bundle}", *small])
    videos = []
    for is_shared in (True, False):
        bundle = build.build_bundle(conf)
        assert (bundle.parts["refiner_vae"] is bundle.parts["vae"]) == is_shared
        runner = build.build_generator(conf, bundle)
        videos.append(np.concatenate([segment.frames for segment in runner.stream(SPEC)]))
        monkeypatch.setattr("longtake.models.stages.bundle.is_same_network", lambda *parts: False)
    assert np.array_equal(*videos)


def test_every_runner_of_new_videos_looks_at_their_frames():
    conf = load()
    with pytest.raises(BadFrames, match="frame 0 is black"):
        list(build.build_generator(conf, Dark()).stream(SPEC))
    stage = build.BundleStage(conf, Dark(), StageName.GENERATE)
    stage.warm_up()  # its frames may be dark
    with pytest.raises(BadFrames, match="frame 16 is black"):
        stage.advance(SPEC, PLAN, 1, None)
    with pytest.raises(BadFrames, match="frame 0 is black"):
        build.LocalStage(Dark(), conf).advance(SPEC, PLAN, 0, None)
    build.LocalStage(Dark(), conf, may_be_black=True).advance(SPEC, PLAN, 0, None)


def test_an_opener_by_hub_id_may_be_any_pipeline_with_half_precision_alone(random_bundle, tmp_path):
    folder = write_pipeline(animate_diff, random_bundle, tmp_path / "repository")
    halved(folder / "unet")
    into_cache(folder, tmp_path / "cache", "owner/animatediff")
    overrides = [f"bundle={random_bundle}", "opener.model=owner/animatediff"]
    done = python(OPENED.format(overrides), tmp_path / "cache", url=None)
    assert done.stdout.strip() == "AnimateDiffPipeline", done.stderr
