"""The reference runner on toy stages: real arithmetic in NumPy, small enough to read."""

import numpy as np
import pytest

from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec, chunk_prompt
from longtake.models.domain.scheduler import Coupling, StageName
from longtake.models.domain.state import Boundary, Chunk, Memory, Segment, WindowState
from longtake.pipelines.runners.local import LocalRunner

NUM_STEPS = 4
NOISE = np.random.default_rng(0).standard_normal((1000, NUM_STEPS, 1, 1, 1)).astype(np.float32)  # by frame and step


def brighter(spec, plan, index):
    """The change of frames under a later prompt: its length minus that of the first prompt."""
    return 0 if spec is None else len(chunk_prompt(spec, plan, index)) - len(spec.prompt)


class ToyBase:
    """Each new frame is the one before, a little brighter; the memory's values travel with it."""

    def advance(self, spec, plan, index, memory):
        span = plan.chunks[index]
        level = (0.0 if memory is None else float(memory.last[-1, 0, 0, 0])) + brighter(spec, plan, index)
        levels = level + np.arange(1, len(span) + 1, dtype=np.float32)
        frames = np.broadcast_to(levels[:, None, None, None], (len(span), 1, 2, 2))
        anchor = frames[0] if memory is None else memory.anchor
        pixels = (frames.transpose(0, 2, 3, 1) % 256).astype(np.uint8)
        return Memory(anchor, frames[-plan.params.condition_frames :]), Chunk(span, pixels)


class ToyRefiner:
    """Predicts from all frames of the window, blends half and half on the overlap, adds the frames' shared noise."""

    def advance(self, spec, plan, window, steps, state, *inputs):
        span, overlap = plan.windows[window], plan.params.overlap_frames
        boundaries = [value for value in inputs if isinstance(value, Boundary)]
        more = np.float32([0.1 * brighter(spec, plan, plan.chunk_at(frame)) for frame in span]).reshape(-1, 1, 1, 1)
        if steps.start == 0:
            state = self.start(span, [value for value in inputs if isinstance(value, Chunk)])
        predictions = []
        for s in steps:
            if s > 0:
                x0 = self.blend(state.x0, window, s - 1, overlap, boundaries)
                x = 0.5 * state.x + 0.5 * x0 + 0.1 * NOISE[span.frames, s - 1]
                state = WindowState(x, None, state.x0)
            if s < NUM_STEPS:
                state = WindowState(state.x, None, np.tanh(state.x + 0.1 * state.x.mean(axis=0) + more))
                predictions.append(state.x0)
        if steps.stop == NUM_STEPS + 1:
            segment = plan.segments[window]
            return None, Segment(segment, to_pixels(state.x[: len(segment)]))
        x0 = np.stack(predictions)
        return state, Boundary(window, steps, x0[:, :overlap], x0[:, -overlap:])

    def start(self, span, chunks):
        frames = np.concatenate([chunk.frames for chunk in chunks])[span.start - chunks[0].span.start :][: len(span)]
        x = frames.transpose(0, 3, 1, 2).astype(np.float32) / 100
        return WindowState(x, None, x)

    def blend(self, x0, window, step, overlap, boundaries):
        x0 = x0.copy()
        for boundary in boundaries:
            if step not in boundary.steps:
                continue
            row = step - boundary.steps.start
            if boundary.window < window:
                x0[: overlap // 2] = boundary.last[row, : overlap // 2]
            else:
                x0[-(overlap - overlap // 2) :] = boundary.first[row, overlap // 2 :]
        return x0


def to_pixels(x):
    return np.round(100 + 30 * x).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def lockstep(num_frames):
    """Symmetric coupling as the paper has it: one latent over the whole video, blended after every prediction."""
    plan = Plan(num_frames, PlanParams())
    overlap = plan.params.overlap_frames
    memory, chunks = None, []
    for index in range(len(plan.chunks)):
        memory, chunk = ToyBase().advance(None, plan, index, memory)
        chunks.append(chunk.frames)
    x = np.concatenate(chunks)[: plan.windows[-1].stop].transpose(0, 3, 1, 2).astype(np.float32) / 100
    for step in range(NUM_STEPS):
        blended = np.empty_like(x)
        for window in plan.windows:
            part = x[window.frames]
            first = window.start + (overlap // 2 if window.start else 0)
            blended[first : window.stop] = np.tanh(part + 0.1 * part.mean(axis=0))[first - window.start :]
        x = 0.5 * x + 0.5 * blended + 0.1 * NOISE[: len(x), step]
    return to_pixels(x[:num_frames])


class Watched:
    """A stage that writes down each call, and may raise at one."""

    def __init__(self, stage, fail_at=None):
        self.stage, self.fail_at, self.calls = stage, fail_at, []

    def advance(self, *args):
        self.calls.append(args)
        if len(self.calls) == self.fail_at:
            raise RuntimeError(f"no memory left at call {self.fail_at}")
        return self.stage.advance(*args)


def make_runner(coupling=Coupling.CAUSAL, fail=None, **params):
    stages = {
        StageName.GENERATE: Watched(ToyBase(), fail_at=3 if fail is StageName.GENERATE else None),
        StageName.REFINE: Watched(ToyRefiner(), fail_at=8 if fail is StageName.REFINE else None),
    }
    return LocalRunner(stages, PlanParams(), NUM_STEPS, coupling, **params)


def spec_of(num_frames=80):
    return PromptSpec("a", "a red circle", num_frames=num_frames)


def frames_of(segments):
    return np.concatenate([segment.frames for segment in segments])


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("num_frames", [1, 16, 17, 24, 25, 40, 41, 80])
def test_segments_tile_the_video(coupling, num_frames):
    segments = list(make_runner(coupling).stream(spec_of(num_frames)))
    assert tuple(segment.span for segment in segments) == Plan(num_frames, PlanParams()).segments
    assert frames_of(segments).shape == (num_frames, 2, 2, 1)


@pytest.mark.parametrize("num_frames", [1, 24, 25, 80, 200])
def test_symmetric_coupling_is_one_latent_over_the_whole_video(num_frames):
    frames = frames_of(make_runner(Coupling.SYMMETRIC).stream(spec_of(num_frames)))
    np.testing.assert_array_equal(frames, lockstep(num_frames))


@pytest.mark.parametrize("steps_per_task", [2, 3, NUM_STEPS, NUM_STEPS + 5])
def test_causal_frames_do_not_depend_on_the_steps_of_a_task(steps_per_task):
    one = make_runner().stream(spec_of())
    many = make_runner(steps_per_task=steps_per_task).stream(spec_of())
    np.testing.assert_array_equal(frames_of(one), frames_of(many))


@pytest.mark.parametrize("coupling", Coupling)
def test_another_prompt_changes_frames_from_the_first_window_on_that_holds_a_chunk_of_it(coupling):
    cues = (Cue(30, "a blue ring that grows"),)  # takes effect at chunk 3, from frame 32: window 1 begins at 16
    spec = PromptSpec("a", "a red circle", num_frames=80, cues=cues)
    plain, changed = (frames_of(make_runner(coupling).stream(one)) for one in (spec_of(), spec))
    differs = (plain != changed).any(axis=(1, 2, 3))
    assert differs[32:].all()
    assert not differs[:16].any() or coupling is Coupling.SYMMETRIC


def test_the_first_segment_comes_while_the_base_model_still_has_work():
    runner = make_runner()
    plan = Plan(80, PlanParams())
    next(runner.stream(spec_of()))
    assert len(runner.stages[StageName.GENERATE].calls) == 2 < len(plan.chunks)
    assert len(runner.stages[StageName.REFINE].calls) == NUM_STEPS + 1


def test_the_base_model_is_never_far_ahead_of_the_refiner():
    runner, held = make_runner(Coupling.SYMMETRIC), []
    queue = ChunkQueue(Plan(400, PlanParams()), 48)

    def observe(task, output):
        if task.stage is StageName.GENERATE:
            queue.put(task.index, None)
        elif task.steps.start == 0:
            queue.take(task.index)
        held.append(queue.num_frames)

    assert len(list(runner.stream(spec_of(400), observe))) == len(Plan(400, PlanParams()).segments)
    assert max(held) <= 48


def test_every_task_is_observed_once_with_its_output_before_its_segment_comes():
    seen, runner = [], make_runner()
    for number, segment in enumerate(runner.stream(spec_of(), lambda task, output: seen.append((task, output)))):
        assert seen[-1][1] is segment and seen[-1][0].index == number
    assert len(seen) == len({task for task, _ in seen}) == sum(len(stage.calls) for stage in runner.stages.values())
    chunks = [output for task, output in seen if task.stage is StageName.GENERATE]
    assert [chunk.span for chunk in chunks] == list(Plan(80, PlanParams()).chunks)


def test_nothing_runs_before_the_first_segment_is_asked_for_nor_after_the_viewer_left():
    runner = make_runner()
    stream = runner.stream(spec_of())
    assert not any(stage.calls for stage in runner.stages.values())
    next(stream)
    calls = [len(stage.calls) for stage in runner.stages.values()]
    stream.close()
    assert next(stream, None) is None
    assert [len(stage.calls) for stage in runner.stages.values()] == calls


@pytest.mark.parametrize("stage", StageName)
def test_what_a_stage_raises_comes_out_after_the_segments_that_were_final(stage):
    runner = make_runner(fail=stage)
    stream, segments = runner.stream(spec_of()), []
    with pytest.raises(RuntimeError, match="no memory left"):
        for segment in stream:
            segments.append(segment)
    assert [segment.span.start for segment in segments] == [0]
    assert next(stream, None) is None


def test_one_runner_streams_several_videos_side_by_side():
    runner = make_runner()
    alone = frames_of(make_runner().stream(spec_of(40)))
    both = zip(runner.stream(spec_of(40)), runner.stream(spec_of(40)), strict=True)
    for mixed in map(frames_of, zip(*both, strict=True)):
        np.testing.assert_array_equal(mixed, alone)


def test_what_cannot_be_planned_is_refused_before_anything_runs():
    runner = LocalRunner({}, PlanParams(window_frames=100), NUM_STEPS, Coupling.CAUSAL)
    with pytest.raises(ValueError, match="lookahead_frames=48"):
        next(runner.stream(spec_of()))
