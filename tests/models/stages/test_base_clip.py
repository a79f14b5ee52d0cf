"""The base model goes on from frames that exist."""

from dataclasses import replace

import numpy as np
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Clip, Memory
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.opener import memory_from
from longtake.models.stages.params import BaseParams
from longtake.models.video.fit import Fit

PLAN, SPEC = Plan(64, PlanParams()), PromptSpec("a", "a red circle", num_frames=64)


@pytest.fixture(scope="module")
def base(random_bundle):
    return load_bundle(random_bundle).base_model(BaseParams(num_inference_steps=1))


def clip_of(start, stop, height=32, width=32):
    frames = np.random.default_rng(0).integers(0, 256, (stop - start, height, width, 3), np.uint8)
    return Clip(Span(start, stop), frames, frames[0] // 2)


def test_its_chunks_are_the_frames_of_the_clip_and_the_last_one_leaves_the_memory_of_its_end(base):
    clip = clip_of(32, 48)
    rest, chunk = base.advance(SPEC, PLAN, 3, clip)
    memory, last = base.advance(SPEC, PLAN, 4, rest)
    assert np.array_equal(np.concatenate([chunk.frames, last.frames]), clip.frames)
    assert (chunk.span, last.span) == (PLAN.chunks[3], PLAN.chunks[4])
    expected = memory_from(np.concatenate([clip.anchor[None], clip.frames[-8:]]), (32, 32), Fit.STRETCH, 0, 8)
    assert np.array_equal(memory.last, expected.last) and np.array_equal(memory.anchor, expected.anchor)


def test_what_goes_on_to_the_next_chunk_has_only_the_frames_that_are_still_needed(base):
    clip = clip_of(32, 56)
    rest, _ = base.advance(SPEC, PLAN, 3, clip)
    assert rest.span == Span(40, 56) and np.array_equal(rest.frames, clip.frames[8:])
    few = replace(PLAN, params=PlanParams(16, 12, 24, 8))  # each chunk adds 4 frames, and the memory has 12
    rest, chunk = base.advance(SPEC, few, 2, clip_of(12, 28))
    assert chunk.span == Span(20, 24) and rest.span == Span(16, 28)
    assert len(base.advance(SPEC, few, 3, rest)[0].last) == 12


def test_frames_of_another_shape_are_stretched(base):
    memory, chunk = base.advance(SPEC, PLAN, 3, clip_of(32, 40, 48, 96))
    assert isinstance(memory, Memory) and chunk.frames.shape == (8, 32, 32, 3)
