"""The first chunk from another model, and the memory that the base model continues from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.stages.base import BaseModel
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.files import REQUIRED_OF_BASE
from longtake.models.stages.opener import fitted, memory_from
from longtake.models.stages.params import BUNDLE, BaseParams, OpenerParams
from longtake.models.video.fit import Fit
from longtake.models.video.frames import to_float, to_uint8

SPEC = PromptSpec("v", "a large red circle moves right over a plain navy background", "", 30, 5)
PLAN = Plan(30, PlanParams())
PARAMS = BaseParams(num_inference_steps=2, anchor_frame=3)
OPENING = OpenerParams(model=BUNDLE, num_inference_steps=2)


@pytest.fixture(scope="module")
def bundle(random_bundle, random_opener):
    opener = load_bundle(random_opener, required=REQUIRED_OF_BASE)
    return replace(load_bundle(random_bundle), opener=opener)


def clip(count=20, height=32, width=32):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_first_chunk_has_the_openers_frames_in_the_base_models_size(bundle):
    memory, chunk = bundle.base_model(PARAMS, OPENING).advance(SPEC, PLAN, 0, None)
    opener = bundle.opener
    alone = BaseModel(
        opener.base_nets(),
        NoiseSchedule.from_config(opener.parts["scheduler"], multistep=True),
        OPENING.sampling(),
        purpose="opener",
    )
    own = to_uint8(alone.open(SPEC, SPEC.prompt, PLAN))
    assert own.shape == (16, 48, 80, 3) and chunk.frames.shape == (16, 32, 32, 3)
    assert np.array_equal(chunk.frames, to_uint8(fitted(own, (32, 32), Fit.COVER)))
    assert np.array_equal(memory.anchor, fitted(own, (32, 32), Fit.COVER)[3])
    assert not np.array_equal(chunk.frames, bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, None)[1].frames)


def test_the_second_chunk_is_the_base_models_continuation_of_them(bundle):
    memory, chunk = bundle.base_model(PARAMS, OPENING).advance(SPEC, PLAN, 0, None)
    continued = [
        model.advance(SPEC, PLAN, 1, memory)[1].frames
        for model in (bundle.base_model(PARAMS, OPENING), bundle.base_model(PARAMS))
    ]
    assert np.array_equal(*continued)
    from_pixels = memory_from(chunk.frames, (32, 32), Fit.COVER, 3, 8)
    assert np.abs(from_pixels.last - memory.last).max() <= 1 / 255 + 1e-6  # the same frames, rounded


@pytest.mark.parametrize("change", [{"sampler": "ddim"}, {"guidance_scale": 1.0}, {"fit": Fit.STRETCH}])
def test_each_setting_of_the_opener_changes_the_first_chunk(bundle, change):
    frames = [
        bundle.base_model(PARAMS, opening).advance(SPEC, PLAN, 0, None)[1].frames
        for opening in (OPENING, replace(OPENING, **change))
    ]
    assert not np.array_equal(*frames)


def test_the_openers_noise_is_not_the_base_models(bundle):
    nets, schedule = bundle.base_nets(), NoiseSchedule.from_config(bundle.parts["scheduler"])
    images = [BaseModel(nets, schedule, PARAMS, purpose=name).open(SPEC, "a", PLAN) for name in ("base", "opener")]
    assert not torch.equal(*images)


def test_a_memory_of_frames_of_its_size_has_exactly_these():
    frames = clip()
    memory = memory_from(frames, (32, 32), Fit.COVER, 2, 8)
    assert memory.last.dtype == memory.anchor.dtype == np.float32
    assert np.array_equal(memory.anchor, to_float(frames)[2]) and np.array_equal(memory.last, to_float(frames)[-8:])
    images = to_float(frames) * 0.999  # between two pixels: images are not rounded
    assert np.array_equal(memory_from(images, (32, 32), Fit.COVER, 2, 8).last, images[-8:])


def test_a_memory_of_frames_of_another_shape_is_cut_or_stretched():
    frames = clip(height=24, width=64)
    frames[:, :, 40:] = 255  # white on the right
    cut, stretched = (memory_from(frames, (24, 24), fit, 0, 8) for fit in (Fit.COVER, Fit.STRETCH))
    assert cut.last.shape == stretched.last.shape == (8, 3, 24, 24)
    assert np.array_equal(cut.last, to_float(frames)[-8:, :, :, 20:44])
    assert (stretched.last[..., 16:] == 1).all() and not (cut.last[..., 16:] == 1).all()


@pytest.mark.parametrize(("anchor_frame", "least"), [(0, 8), (11, 12)])
def test_a_clip_that_is_too_short_to_be_continued_is_refused(anchor_frame, least):
    with pytest.raises(ValueError, match=f"frames={least - 1}: a video to be continued needs at least {least}"):
        memory_from(clip(least - 1), (32, 32), Fit.COVER, anchor_frame, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_inference_steps", 0), ("guidance_scale", 0.5), ("sampler", "euler"), ("eta", 2.0), ("fit", Fit.CONTAIN)],
)
def test_params_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}"):
        OpenerParams(**{field: value})
