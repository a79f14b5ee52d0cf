"""The grid of cells is the update of one latent over the whole video, in whatever order its cells are run.

A toy takes the place of the networks: nonlinear, and mixing the frames, so that it matters what a window sees.
"""

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.models.diffusion.noise import noise_for, rng_for
from longtake.models.diffusion.sampling import NoiseSchedule, ddim, dpmpp_2m_sde, start, to_x0
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec, chunk_prompt
from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName
from longtake.models.domain.span import Span
from longtake.models.domain.state import Boundary, Chunk, HeldFrames, Segment, WindowState
from longtake.models.nets.sizes import SideRule, SizeRule
from longtake.models.stages.params import RefinerParams
from longtake.models.stages.refiner import Refiner
from longtake.models.video.fit import Fit
from longtake.models.video.frames import upscale

SCHEDULE = NoiseSchedule.from_config(
    {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    }
)
PARAMS = RefinerParams(num_inference_steps=5, strength=0.6, height=12, width=8, coupling=Coupling.SYMMETRIC)
SPEC = PromptSpec(video_id="v", prompt="a ring", num_frames=80, seed=11)
LENGTHS = [1, 17, 24, 25, 80]
SAMPLERS = [{"sampler": "ddim", "eta": 0.0}, {"sampler": "ddim", "eta": 0.7}, {"sampler": "dpmpp_2m_sde"}]


class ToyNets:
    """Latents are colours of blocks of 2 x 2 pixels. Decoded are their bits, so that equal frames are equal latents."""

    sizes = SizeRule(SideRule(2), SideRule(2))

    def encode(self, images, /):
        assert len(images) == 1
        return torch.nn.functional.avg_pool2d(images, 2)

    def predict(self, x, timestep, prompt, negative_prompt, /):
        before, after = x.roll(1, 0), x.roll(-2, 0)
        place = torch.linspace(0, 1, len(x)).reshape(-1, 1, 1, 1)
        return torch.tanh(0.8 * x - 0.5 * before + 0.3 * after * place + 0.1 * len(prompt)) + timestep / 2000

    def decode(self, latents, /):
        return latents.numpy().view(np.uint8).reshape(len(latents), 12, 8, 3)


def frames_of(span: Span) -> np.ndarray:
    """Low-resolution frames, each a function of its number."""
    return np.stack([np.random.default_rng(f).integers(0, 256, (6, 4, 3), np.uint8) for f in span])


def plan_of(num_frames: int, overlap: int = 8) -> Plan:
    return Plan(num_frames, PlanParams(overlap_frames=overlap))


def through_the_scheduler(plan, params, rng, lossy=False, seen=None, nets=None, **asked) -> np.ndarray:
    """All tasks as a runner would make them, done in a random order; everything that is handed over is pickled."""
    refiner, scheduler = Refiner(nets or ToyNets(), SCHEDULE, params), Scheduler(SchedulerParams())
    spec = replace(SPEC, num_frames=plan.num_frames, **asked)
    scheduler.submit(spec, plan, params.num_inference_steps, params.coupling, params.steps_per_task)
    segments, running = [], []
    while not scheduler.finished:
        for stage in StageName:
            while task := scheduler.next(stage):
                running.append(task)
        task = running.pop(rng.randrange(len(running)))
        if lossy and rng.random() < 0.2:
            scheduler.lost(task)
            continue
        if task.stage is StageName.GENERATE:
            carry, output = None, Chunk(plan.chunks[task.index], frames_of(plan.chunks[task.index]))
        else:
            carry, output = refiner.advance(*pickle.loads(pickle.dumps(task.args)))
        if seen is not None and isinstance(carry, WindowState):
            seen[task.index, task.steps.start] = carry
        segments += scheduler.done(task, carry, output)
    assert [s.span for s in segments] == list(plan.segments)
    return np.concatenate([s.frames for s in segments])


def step_function(params):
    if params.sampler == "dpmpp_2m_sde":
        return dpmpp_2m_sde
    return lambda *args: ddim(*args, eta=params.eta)


def whole_latent(plan, params, spec):
    """x of the whole video before the first step."""
    video = Span(0, plan.windows[-1].stop)
    z = torch.nn.functional.avg_pool2d(upscale(frames_of(video), params.height, params.width), 2)
    timesteps = SCHEDULE.timesteps(params.num_inference_steps, params.strength)
    noise = noise_for(spec.seed, "refine-start", 0, video, z.shape[1:])
    return start(SCHEDULE, timesteps, z, torch.from_numpy(noise)), timesteps, video


def predicted(spec, plan, window, part, t):
    """The prediction for a window: each frame under the prompt of the chunk that begins last before it."""
    under = {}
    for prompt in {spec.prompt, *(cue.prompt for cue in spec.cues)}:
        under[prompt] = ToyNets().predict(part, t, prompt, "")
    starts = [max(chunk.start for chunk in plan.chunks if chunk.start <= frame) for frame in window]
    return torch.stack([under[spec.prompt_at(start)][i] for i, start in enumerate(starts)])


def lockstep(plan, params, **asked) -> np.ndarray:
    """The paper's loop over one latent of the whole video.

    At each step the windows write their predictions into one x0, from left to right and each from its cut on, and one
    update runs on all of it.
    """
    spec, nets, step = replace(SPEC, num_frames=plan.num_frames, **asked), ToyNets(), step_function(params)
    x, timesteps, video = whole_latent(plan, params, spec)
    history = None
    for i, t in enumerate(timesteps):
        x0 = torch.full_like(x, torch.nan)
        for k, window in enumerate(plan.windows):
            part = x[window.start : window.stop].clone()
            own = to_x0(SCHEDULE, predicted(spec, plan, window, part, t), part, t)
            overlap = plan.params.overlap_frames
            cut = 0 if k == 0 else int(rng_for(spec.seed, "cut", i, k - 1).integers(0, overlap, endpoint=True))
            x0[window.start + cut : window.stop] = own[cut:]
        noise = torch.from_numpy(noise_for(spec.seed, "refine", i, video, x.shape[1:]))
        x, history = step(SCHEDULE, timesteps, i, x, x0, history, noise)
    return nets.decode(x)[: plan.num_frames]


def one_window_after_the_other(plan, params, listen=True, **asked) -> np.ndarray:
    """Causal coupling as a plain loop: each window is finished before the next one, which blends with it, begins."""
    spec, nets, step = replace(SPEC, num_frames=plan.num_frames, **asked), ToyNets(), step_function(params)
    whole, timesteps, _ = whole_latent(plan, params, spec)
    frames, heard, overlap = [], None, plan.params.overlap_frames
    for k, window in enumerate(plan.windows):
        x, history, said = whole[window.start : window.stop].clone(), None, []
        for i, t in enumerate(timesteps):
            x0 = to_x0(SCHEDULE, predicted(spec, plan, window, x, t), x, t)
            said.append(x0[-overlap:].clone())
            if heard is not None and listen:
                cut = int(rng_for(spec.seed, "cut", i, k - 1).integers(0, overlap, endpoint=True))
                x0 = x0.clone()
                x0[:cut] = heard[i][:cut]
            noise = torch.from_numpy(noise_for(spec.seed, "refine", i, window, x.shape[1:]))
            x, history = step(SCHEDULE, timesteps, i, x, x0, history, noise)
        heard = said
        frames.append(nets.decode(x)[: len(plan.segments[k])])
    return np.concatenate(frames)


# ---- symmetric coupling


@pytest.mark.parametrize("sampling", SAMPLERS, ids=["ddim", "ddim-eta", "dpmpp"])
@pytest.mark.parametrize("num_frames", LENGTHS)
def test_the_symmetric_grid_equals_the_lockstep_loop_bit_for_bit(num_frames, sampling):
    plan, params = plan_of(num_frames), replace(PARAMS, **sampling)
    expected = lockstep(plan, params)
    assert expected.shape == (num_frames, 12, 8, 3)
    for seed in range(2):
        frames = through_the_scheduler(plan, params, random.Random(seed), lossy=seed > 0)
        assert np.array_equal(frames, expected)


@pytest.mark.parametrize("overlap", [1, 4, 8, 12])
def test_the_symmetric_grid_equals_the_lockstep_loop_for_any_overlap(overlap):
    plan, params = plan_of(70, overlap), replace(PARAMS, sampler="dpmpp_2m_sde")
    assert np.array_equal(through_the_scheduler(plan, params, random.Random(5)), lockstep(plan, params))


@pytest.mark.parametrize("sampling", SAMPLERS, ids=["ddim", "ddim-eta", "dpmpp"])
def test_overlapping_frames_of_two_windows_stay_equal_bit_for_bit_at_every_step(sampling):
    plan, seen = plan_of(80), {}
    through_the_scheduler(plan, replace(PARAMS, **sampling), random.Random(0), seen=seen)
    assert len(seen) == len(plan.windows) * PARAMS.num_inference_steps
    for (k, s), state in seen.items():
        if k + 1 < len(plan.windows):
            right = seen[k + 1, s]
            assert np.array_equal(state.x[-8:], right.x[:8])
            assert state.history is None or np.array_equal(state.history[-8:], right.history[:8])
            assert not np.array_equal(state.x0[-8:], right.x0[:8])  # predictions differ: there is something to blend


# ---- causal coupling


@pytest.mark.parametrize("sampling", SAMPLERS, ids=["ddim", "ddim-eta", "dpmpp"])
@pytest.mark.parametrize("num_frames", LENGTHS)
def test_causal_frames_do_not_depend_on_steps_per_task(num_frames, sampling):
    plan = plan_of(num_frames)
    params = replace(PARAMS, **sampling, coupling=Coupling.CAUSAL)
    expected = one_window_after_the_other(plan, params)
    for steps_per_task in (1, 2, 3, 5, 10):
        of_block = replace(params, steps_per_task=steps_per_task)
        frames = through_the_scheduler(plan, of_block, random.Random(steps_per_task), lossy=steps_per_task == 3)
        assert np.array_equal(frames, expected)


@pytest.mark.parametrize("overlap", [4, 12])
def test_causal_frames_are_those_of_the_plain_loop_for_any_overlap(overlap):
    plan, params = plan_of(70, overlap), replace(PARAMS, coupling=Coupling.CAUSAL, steps_per_task=2)
    assert np.array_equal(
        through_the_scheduler(plan, params, random.Random(5)), one_window_after_the_other(plan, params)
    )


def test_in_causal_coupling_nothing_is_said_to_the_window_before():
    refiner = Refiner(ToyNets(), SCHEDULE, replace(PARAMS, coupling=Coupling.CAUSAL))
    chunk = Chunk(Span(0, 24), frames_of(Span(0, 24)))
    _, boundary = refiner.advance(SPEC, plan_of(80), 0, Span(0, 2), None, chunk)
    assert boundary.first is None
    assert boundary.last.shape == (2, 8, 3, 6, 4) and boundary.last.dtype == np.float32
    assert (boundary.window, boundary.steps) == (0, Span(0, 2))


def test_coupling_makes_a_difference():
    plan = plan_of(80)
    symmetric = lockstep(plan, PARAMS)
    causal = one_window_after_the_other(plan, PARAMS)
    assert not np.array_equal(symmetric, causal)


# ---- prompts that change on the way


CUES = (Cue(20, "a large ring that grows"), Cue(41, "no"), Cue(48, "a ring"))  # in effect from 24, never, and from 48


class CountedNets(ToyNets):
    """Records the calls of `predict`."""

    def __init__(self):
        self.calls = []

    def predict(self, x, timestep, prompt, negative_prompt, /):
        self.calls.append((timestep, prompt))
        return super().predict(x, timestep, prompt, negative_prompt)


@pytest.mark.parametrize("cues", [CUES, CUES[:1], (Cue(70, "a blue ring"),)])
@pytest.mark.parametrize("sampling", SAMPLERS, ids=["ddim", "ddim-eta", "dpmpp"])
def test_the_symmetric_grid_equals_the_lockstep_loop_with_any_prompts(sampling, cues):
    plan, params = plan_of(80), replace(PARAMS, **sampling)
    expected = lockstep(plan, params, cues=cues)
    assert np.array_equal(through_the_scheduler(plan, params, random.Random(1), lossy=True, cues=cues), expected)
    assert not np.array_equal(expected, lockstep(plan, params))


def test_causal_frames_are_those_of_the_plain_loop_with_any_prompts():
    plan, params = plan_of(80), replace(PARAMS, coupling=Coupling.CAUSAL)
    expected = one_window_after_the_other(plan, params, cues=CUES)
    for steps_per_task in (1, 2, 5):
        of_block = replace(params, steps_per_task=steps_per_task)
        assert np.array_equal(through_the_scheduler(plan, of_block, random.Random(0), cues=CUES), expected)
    assert np.array_equal(expected[:16], one_window_after_the_other(plan, params)[:16])


def test_overlapping_frames_stay_equal_where_the_prompt_changes():
    plan, seen = plan_of(80), {}
    through_the_scheduler(plan, PARAMS, random.Random(0), seen=seen, cues=(Cue(20, "a blue ring"), Cue(40, "no")))
    for (k, s), state in seen.items():
        if k + 1 < len(plan.windows):
            assert np.array_equal(state.x[-8:], seen[k + 1, s].x[:8])


def test_a_window_is_predicted_once_for_each_of_its_prompts_and_step():
    plan, nets = plan_of(80), CountedNets()
    through_the_scheduler(plan, PARAMS, random.Random(0), nets=nets)
    spec = replace(SPEC, num_frames=80)
    assert len(nets.calls) == 5 * PARAMS.num_inference_steps and {prompt for _, prompt in nets.calls} == {spec.prompt}
    nets.calls.clear()
    through_the_scheduler(plan, PARAMS, random.Random(0), nets=nets, cues=CUES)
    # windows from 0, 16, 32, 48 and 64; prompts from 0, 24 and 48, of which the first and the last are the same
    shown = [{chunk_prompt(replace(spec, cues=CUES), plan, i) for i in plan.chunks_of(k)} for k in range(5)]
    assert shown == [{"a ring"}, {"a ring", CUES[0].prompt}, {CUES[0].prompt, "a ring"}, {"a ring"}, {"a ring"}]
    assert len(nets.calls) == (1 + 2 + 2 + 1 + 1) * PARAMS.num_inference_steps
    assert {prompt for _, prompt in nets.calls} == {spec.prompt, CUES[0].prompt}


# ---- ablations


@pytest.mark.parametrize("coupling", list(Coupling))
def test_without_blending_windows_are_independent(coupling):
    plan, params = plan_of(80), replace(PARAMS, blending=False, coupling=coupling)
    frames = through_the_scheduler(plan, params, random.Random(0))
    assert np.array_equal(frames, one_window_after_the_other(plan, params, listen=False))


@pytest.mark.parametrize("sampling", SAMPLERS, ids=["ddim", "ddim-eta", "dpmpp"])
def test_without_shared_noise_two_windows_start_differently_on_the_same_frames(sampling):
    plan, seen = plan_of(80), {}
    through_the_scheduler(plan, replace(PARAMS, **sampling, shared_noise=False), random.Random(0), seen=seen)
    for k in range(len(plan.windows) - 1):
        left, right = seen[k, 0].x[-8:], seen[k + 1, 0].x[:8]
        assert not np.isclose(left, right).any(axis=(1, 2, 3)).all()
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.5


def test_ablations_make_a_difference():
    plan = plan_of(80)
    variants = [{}, {"blending": False}, {"shared_noise": False}, {"blending": False, "shared_noise": False}]
    videos = [through_the_scheduler(plan, replace(PARAMS, **v), random.Random(0)) for v in variants]
    for i, a in enumerate(videos):
        assert not any(np.array_equal(a, b) for b in videos[:i])


# ---- a single call


def test_a_call_changes_none_of_its_arguments_and_takes_arrays_that_are_read_only():
    plan = plan_of(40)
    refiner = Refiner(ToyNets(), SCHEDULE, PARAMS)
    chunks = [Chunk(plan.chunks[i], frames_of(plan.chunks[i])) for i in range(len(plan.chunks))]
    for chunk in chunks:
        chunk.frames.setflags(write=False)
    first = [refiner.advance(SPEC, plan, k, Span(0, 1), None, *chunks) for k in (0, 1)]
    for state, boundary in first:
        for array in (state.x, state.x0, boundary.first, boundary.last):
            array.setflags(write=False)
    before = pickle.dumps(first)
    once = refiner.advance(SPEC, plan, 1, Span(1, 2), first[1][0], first[0][1])
    twice = refiner.advance(SPEC, plan, 1, Span(1, 2), first[1][0], first[0][1])
    assert pickle.dumps(first) == before
    assert np.array_equal(once[0].x, twice[0].x) and np.array_equal(once[1].last, twice[1].last)


def test_the_order_of_the_inputs_does_not_matter():
    plan = plan_of(40)
    refiner = Refiner(ToyNets(), SCHEDULE, replace(PARAMS, coupling=Coupling.CAUSAL))
    chunks = [Chunk(span, frames_of(span)) for span in plan.chunks]
    _, heard = refiner.advance(SPEC, plan, 0, Span(0, 3), None, *chunks[:2])
    covering = [chunks[i] for i in plan.chunks_of(1)]
    one, _ = refiner.advance(SPEC, plan, 1, Span(0, 3), None, *covering, heard)
    other, _ = refiner.advance(SPEC, plan, 1, Span(0, 3), None, heard, *reversed(covering))
    assert np.array_equal(one.x, other.x)


def test_the_last_cell_gives_the_segment_only():
    plan = plan_of(17)
    refiner = Refiner(ToyNets(), SCHEDULE, PARAMS)
    chunks = [Chunk(span, frames_of(span)) for span in plan.chunks]
    state = None
    for s in range(PARAMS.num_inference_steps):
        state, output = refiner.advance(SPEC, plan, 0, Span(s, s + 1), state, *(chunks if s == 0 else []))
        assert isinstance(output, Boundary)
    state, output = refiner.advance(SPEC, plan, 0, Span(5, 6), state)
    assert state is None
    assert isinstance(output, Segment)
    assert output.span == Span(0, 17) and output.frames.shape == (17, 12, 8, 3)


def test_a_neighbour_that_is_missing_is_noticed():
    plan = plan_of(40)
    refiner = Refiner(ToyNets(), SCHEDULE, PARAMS)
    state, _ = refiner.advance(SPEC, plan, 0, Span(0, 1), None, Chunk(Span(0, 24), frames_of(Span(0, 24))))
    with pytest.raises(AssertionError, match="no boundary of window 1 for step 0"):
        refiner.advance(SPEC, plan, 0, Span(1, 2), state)


def test_chunks_that_do_not_cover_the_window_are_noticed():
    refiner = Refiner(ToyNets(), SCHEDULE, PARAMS)
    for chunks in ([], [Chunk(Span(0, 16), frames_of(Span(0, 16)))]):
        with pytest.raises(AssertionError, match=r"chunks do not cover \[0, 24\)"):
            refiner.advance(SPEC, plan_of(40), 0, Span(0, 1), None, *chunks)


# ---- parameters


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_inference_steps", 0, "num_inference_steps=0: must be at least 1"),
        ("strength", 0.0, "strength=0.0: must be above 0 and at most 1"),
        ("strength", float("nan"), "strength=nan"),
        ("guidance_scale", 0.5, "guidance_scale=0.5: must be at least 1"),
        ("guidance_scale", float("inf"), "guidance_scale=inf"),
        ("guidance_rescale", 1.5, r"guidance_rescale=1.5: must be in 0\.\.1"),
        ("eta", -0.1, r"eta=-0.1: must be in 0\.\.1"),
        ("sampler", "euler", "sampler='euler' must be one of ddim, dpmpp_2m, dpmpp_2m_sde"),
        ("steps_per_task", 0, "steps_per_task=0"),
        ("height", 127, "height=127: must be even and at least 2"),
        ("width", 0, "width=0"),
    ],
)
def test_parameters_out_of_range_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        RefinerParams(**{field: value})


def test_a_coupling_that_is_only_a_text_is_refused():
    with pytest.raises((ValueError, TypeError), match="coupling"):  # where beartype is switched on, it comes first
        RefinerParams(coupling="symmetric")


def test_more_steps_than_noise_levels_are_refused_before_anything_is_run():
    with pytest.raises(ValueError, match="num_inference_steps=30"):
        Refiner(ToyNets(), SCHEDULE, replace(PARAMS, num_inference_steps=30, strength=0.02))


@pytest.mark.parametrize("num_held", [8, 13, 23])
def test_frames_that_exist_stay_in_the_window_after_them_up_to_a_cut_in_their_last_overlap(num_held):
    plan, params = plan_of(60), replace(PARAMS, coupling=Coupling.CAUSAL, fit=Fit.STRETCH)
    refiner, span = Refiner(ToyNets(), SCHEDULE, params), plan.windows[1]
    held = frames_of(Span(span.start + 100, span.start + 100 + num_held)).repeat(2, 1)  # of another shape
    steps = Span(0, params.num_inference_steps)
    neighbour = HeldFrames(0, held)
    chunks = [Chunk(plan.chunks[i], frames_of(plan.chunks[i])) for i in plan.chunks_of(1)]
    state, _ = refiner.advance(SPEC, plan, 1, steps, None, *chunks, neighbour)
    _, segment = refiner.advance(SPEC, plan, 1, Span(steps.stop, steps.stop + 1), state, neighbour)
    own = torch.cat([ToyNets().encode(upscale(frame[None], 12, 8)) for frame in held])
    stays = (segment.frames[:num_held] == ToyNets().decode(own)[: len(segment.frames)]).all(axis=(1, 2, 3))
    fixed = num_held - plan.params.overlap_frames
    assert stays[:fixed].all() and list(stays) == sorted(stays, reverse=True)
