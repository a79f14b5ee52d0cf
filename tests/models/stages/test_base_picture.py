"""A video that begins with a picture."""

from dataclasses import replace

import numpy as np
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Memory, Picture
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.files import REQUIRED_OF_BASE
from longtake.models.stages.opener import fitted
from longtake.models.stages.params import BUNDLE, BaseParams, OpenerParams
from longtake.models.video.fit import Fit
from longtake.models.video.frames import to_uint8

SPEC = PromptSpec("v", "a large red circle moves right", "", 30, 5)
PLAN = Plan(30, PlanParams())
PARAMS = BaseParams(num_inference_steps=2, anchor_frame=3)
PHOTO = Picture(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
SEEN = fitted(PHOTO.frame[None], (32, 32), Fit.COVER)


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return load_bundle(random_bundle)


def test_the_first_frame_is_the_picture_and_all_others_are_new(bundle):
    memory, chunk = bundle.base_model(PARAMS).advance(SPEC, PLAN, 0, PHOTO)
    assert chunk.frames.shape == (16, 32, 32, 3) and np.array_equal(chunk.frames[:1], to_uint8(SEEN))
    assert all(not np.array_equal(frame, chunk.frames[0]) for frame in chunk.frames[1:])
    assert np.array_equal(memory.anchor, SEEN[0])  # the picture, whatever base.anchor_frame is
    assert memory.last.shape == (8, 3, 32, 32)


def test_they_continue_the_picture_as_if_it_had_stood_still(bundle):
    base = bundle.base_model(PARAMS)
    frames = base.advance(SPEC, PLAN, 0, PHOTO)[1].frames
    still = Memory(SEEN[0].numpy(), np.repeat(SEEN.numpy(), 8, 0))
    first = base._continued(SPEC, SPEC.prompt, Span(0, 16), 8, still, "base-picture")
    assert np.array_equal(frames[1:9], to_uint8(first))
    last = Memory(still.anchor, np.ascontiguousarray(first.numpy()))  # convolutions round by the layout
    second = base._continued(SPEC, SPEC.prompt, Span(8, 24), 8, last, "base-picture")
    assert np.array_equal(frames[9:], to_uint8(second)[:7])


def test_a_text_to_video_opener_leaves_the_picture_to_the_base_model(bundle, random_opener):
    opened = replace(bundle, opener=load_bundle(random_opener, required=REQUIRED_OF_BASE))
    opening = OpenerParams(model=BUNDLE, num_inference_steps=2)
    frames = [
        model.advance(SPEC, PLAN, 0, PHOTO)[1].frames
        for model in (opened.base_model(PARAMS, opening), bundle.base_model(PARAMS))
    ]
    assert np.array_equal(*frames)


def test_without_cam_a_picture_is_refused(bundle):
    for model in (
        bundle.base_model(replace(PARAMS, cam=False)),
        replace(bundle, parts={name: part for name, part in bundle.parts.items() if name != "cam"}).base_model(PARAMS),
    ):
        with pytest.raises(ValueError, match="no CAM, which continues pictures"):
            model.advance(SPEC, PLAN, 0, PHOTO)
