"""Without a refiner the frames of the base model are the video: in the same order, once each."""

import numpy as np
import pytest

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Coupling, StageName
from longtake.models.domain.state import Chunk
from longtake.models.stages.unrefined import Unrefined
from longtake.pipelines.runners.local import LocalRunner


class Numbered:
    """A base model whose frames are their own numbers."""

    def __init__(self):
        self.made = []

    def advance(self, spec, plan, index, memory, /):
        span = plan.chunks[index]
        self.made.append(span)
        return index, Chunk(span, np.stack([np.full((2, 2, 3), frame % 256, np.uint8) for frame in span]))


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("num_frames", [1, 16, 17, 24, 80, 83])
@pytest.mark.parametrize("sizes", [(16, 8), (16, 4), (16, 12), (2, 1), (9, 3)])
def test_chunks_become_segments(coupling, num_frames, sizes):
    params, base = PlanParams(*sizes).unrefined, Numbered()
    runner = LocalRunner({StageName.GENERATE: base, StageName.REFINE: Unrefined()}, params, 0, coupling)
    segments = list(runner.stream(PromptSpec("v", "a", num_frames=num_frames)))
    frames = np.concatenate([segment.frames for segment in segments])
    assert frames[:, 0, 0, 0].tolist() == [frame % 256 for frame in range(num_frames)]
    assert [frame for segment in segments for frame in segment.span] == list(range(num_frames))


@pytest.mark.parametrize("num_frames", [1, 16, 17, 80, 81])
def test_no_chunk_is_made_for_a_refiner_that_is_not_there(num_frames):
    plan = Plan(num_frames, PlanParams().unrefined)
    assert plan.chunks[-1].start < num_frames <= plan.chunks[-1].stop
    assert len(plan.chunks) <= len(Plan(num_frames, PlanParams()).chunks)


def test_the_first_segment_needs_the_first_chunk_alone():
    base = Numbered()
    runner = LocalRunner(
        {StageName.GENERATE: base, StageName.REFINE: Unrefined()}, PlanParams().unrefined, 0, Coupling.CAUSAL
    )
    next(runner.stream(PromptSpec("v", "a", num_frames=240)))
    assert len(base.made) == 1


def test_the_unrefined_sizes_of_unrefined_sizes_are_the_same():
    params = PlanParams(16, 6, 48, 4).unrefined
    assert params.unrefined == params and (params.chunk_frames, params.condition_frames) == (16, 6)
