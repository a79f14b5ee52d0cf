"""The refiner's promises hold with real networks too: a VAE, a UNet and guidance, untrained but whole."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet3DConditionModel

from longtake.models.diffusion.noise import noise_for, rng_for
from longtake.models.diffusion.sampling import NoiseSchedule, dpmpp_2m_sde, start, to_x0
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Coupling, Scheduler, SchedulerParams, StageName
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk
from longtake.models.nets.text import null_and_prompt
from longtake.models.nets.vid2vid import Vid2VidUNet
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import RefinerParams
from longtake.models.stages.refiner import Refiner
from longtake.models.stages.refiner_nets import BundleRefinerNets
from longtake.models.video.fit import Fit
from longtake.models.video.frame_checks import BadFrames, check_not_black
from longtake.models.video.frames import add_bars, fit_frames, upscale
from longtake.pipelines.config.paths import BUNDLES
from tests.support.tiny_nets import randomise

SPEC = PromptSpec("v", "a large red circle moves right", "a small ring", 42, 3)
PLAN = Plan(SPEC.num_frames, PlanParams())
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PARAMS = RefinerParams(
    num_inference_steps=3, sampler="dpmpp_2m_sde", coupling=Coupling.SYMMETRIC, height=32, width=48, guidance_scale=4.0
)


@pytest.fixture(scope="module")
def parts(random_bundle):
    return load_bundle(random_bundle).parts


@pytest.fixture(scope="module")
def shipped():
    return load_bundle(BUNDLES / "tiny").parts


@pytest.fixture(scope="module")
def published(parts):
    return parts | {"refiner": four_levels(Vid2VidUNet)}


def four_levels(kind):
    """Attention is at the lowest level alone: at 720p the highest one has 14,400 places."""
    sizes = {"block_out_channels": (8, 8, 8, 8), "attention_head_dim": 4, "norm_num_groups": 4, "layers_per_block": 1}
    down = ("DownBlock3D",) * 3 + ("CrossAttnDownBlock3D",)
    up = ("CrossAttnUpBlock3D",) + ("UpBlock3D",) * 3
    net = kind(**sizes, down_block_types=down, up_block_types=up, cross_attention_dim=32).eval().requires_grad_(False)
    randomise(net)
    return net


def nets_of(parts, params=PARAMS):
    return BundleRefinerNets(parts["refiner"], parts["vae"], parts["tokenizer"], parts["text_encoder"], params)


def frames_of(span):
    return np.stack([np.random.default_rng(f).integers(0, 256, (16, 24, 3), np.uint8) for f in span])


def through_the_scheduler(parts, params, seed):
    """Every call on an actor of its own, as it were: fresh networks' shells, random order of completion."""
    rng, scheduler = random.Random(seed), Scheduler(SchedulerParams())
    schedule = NoiseSchedule.from_config(parts["refiner_scheduler"])
    scheduler.submit(SPEC, PLAN, params.num_inference_steps, params.coupling, params.steps_per_task)
    segments, running = [], []
    while not scheduler.finished:
        for stage in StageName:
            while task := scheduler.next(stage):
                running.append(task)
        task = running.pop(rng.randrange(len(running)))
        if task.stage is StageName.GENERATE:
            span = PLAN.chunks[task.index]
            carry, output = None, Chunk(span, frames_of(span))
        else:
            carry, output = Refiner(nets_of(parts, params), schedule, params).advance(*task.args)
        segments += scheduler.done(task, carry, output)
    return np.concatenate([segment.frames for segment in segments])


@torch.inference_mode()
def lockstep(parts, params):
    """The paper's loop over the latent of the whole video, windows from left to right at each step."""
    nets, schedule = nets_of(parts, params), NoiseSchedule.from_config(parts["refiner_scheduler"])
    timesteps = schedule.timesteps(params.num_inference_steps, params.strength)
    video = Span(0, PLAN.windows[-1].stop)
    size = params.height, params.width
    z = torch.cat([nets.encode(fit_frames(frame[None], *size, params.fit)) for frame in frames_of(video)])
    x = start(schedule, timesteps, z, torch.from_numpy(noise_for(SPEC.seed, "refine-start", 0, video, z.shape[1:])))
    history = None
    for i, t in enumerate(timesteps):
        x0 = torch.empty_like(x)
        for k, window in enumerate(PLAN.windows):
            part = x[window.start : window.stop].clone()
            own = to_x0(schedule, nets.predict(part, t, SPEC.prompt, SPEC.negative_prompt), part, t)
            cut = 0 if k == 0 else int(rng_for(SPEC.seed, "cut", i, k - 1).integers(9))
            x0[window.start + cut : window.stop] = own[cut:]
        noise = torch.from_numpy(noise_for(SPEC.seed, "refine", i, video, x.shape[1:]))
        x, history = dpmpp_2m_sde(schedule, timesteps, i, x, x0, history, noise)
    pieces = [nets.decode(x[segment.start : segment.stop]) for segment in PLAN.segments]
    return np.concatenate(pieces)


@pytest.mark.parametrize(
    ("weights", "height", "width"),
    [("parts", 32, 48), ("parts", 40, 24), ("shipped", 32, 48), ("published", 16, 64)],
)
def test_the_symmetric_grid_equals_the_lockstep_loop_bit_for_bit(request, weights, height, width):
    parts, params = request.getfixturevalue(weights), replace(PARAMS, height=height, width=width)
    expected = lockstep(parts, params)
    assert expected.shape == (42, height, width, 3) and expected.std() > 1
    assert np.array_equal(through_the_scheduler(parts, params, 0), expected)
    assert np.array_equal(through_the_scheduler(parts, params, 1), expected)


@pytest.mark.parametrize(("weights", "height", "width"), [("parts", 32, 48), ("published", 16, 64)])
def test_causal_frames_are_the_same_for_every_steps_per_task(request, weights, height, width):
    parts = request.getfixturevalue(weights)
    params = replace(PARAMS, coupling=Coupling.CAUSAL, height=height, width=width)
    frames = [through_the_scheduler(parts, replace(params, steps_per_task=steps), steps) for steps in (1, 2, 3)]
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])


def test_a_negative_prompt_and_the_weight_of_guidance_matter(parts):
    x, t = torch.from_numpy(noise_for(0, "x", 0, Span(0, 24), (4, 4, 6))), 500
    with torch.inference_mode():
        out = nets_of(parts).predict(x, t, SPEC.prompt, SPEC.negative_prompt)
        assert not torch.equal(out, nets_of(parts).predict(x, t, SPEC.prompt, ""))
        alone = nets_of(parts, replace(PARAMS, guidance_scale=1.0)).predict
        assert torch.equal(alone(x, t, SPEC.prompt, SPEC.negative_prompt), alone(x, t, SPEC.prompt, ""))


def fitted(parts, fit, seed=0):
    """The refined video of square frames in a wide one, and the latents' shapes."""
    return through_the_scheduler(parts, replace(PARAMS, height=32, width=64, fit=fit), seed)


def test_contain_computes_the_picture_alone_and_frames_it_in_black(parts, monkeypatch):
    """Frames of 16x24 in one of 32x64: a picture of 32x48, which is what the refiner makes of the same video."""
    computed = []
    encode = BundleRefinerNets.encode
    monkeypatch.setattr(BundleRefinerNets, "encode", lambda self, x: computed.append(tuple(x.shape)) or encode(self, x))
    framed = fitted(parts, Fit.CONTAIN)
    assert framed.shape == (42, 32, 64, 3) and set(computed) == {(1, 3, 32, 48)}
    assert not framed[:, :, :8].any() and not framed[:, :, 56:].any()
    assert np.array_equal(framed[:, :, 8:56], through_the_scheduler(parts, PARAMS, 1))


@pytest.mark.parametrize("fit", [Fit.COVER, Fit.STRETCH])
def test_other_fits_compute_the_whole_frame(parts, fit):
    assert fitted(parts, fit).any(axis=(0, 1, 3)).all()


def test_for_frames_of_the_same_shape_every_fit_gives_the_same_bits(parts):
    expected = through_the_scheduler(parts, PARAMS, 0)
    for fit in Fit:
        assert np.array_equal(through_the_scheduler(parts, replace(PARAMS, fit=fit), 0), expected)


def test_a_black_picture_with_bars_is_still_refused(parts):
    dark = add_bars(np.full((2, 4, 4, 3), 8, np.uint8), 4, 8)
    with pytest.raises(BadFrames, match="frame 5 is black"):
        check_not_black(dark, 5)


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [(UNet3DConditionModel, 1280, 720), (UNet3DConditionModel, 720, 1280), (Vid2VidUNet, 1280, 720)],
)
@torch.inference_mode()
def test_a_frame_of_720p_goes_through_the_networks(parts, kind, width, height):
    net = four_levels(kind)
    nets = nets_of(parts | {"refiner": net}, replace(PARAMS, width=width, height=height, guidance_scale=1.0))
    x = nets.encode(upscale(frames_of(range(1)), height, width))
    text = null_and_prompt(parts["tokenizer"], parts["text_encoder"], "", SPEC.prompt)[1:]
    out = nets.predict(x, 500, SPEC.prompt, "")
    torch.testing.assert_close(out, net(x.transpose(0, 1)[None], 500, text).sample[0].transpose(0, 1), **CLOSE)
    assert nets.decode(out).shape == (1, height, width, 3)


def test_upright_720p_is_none_of_the_published_refiners_sizes(published):
    rule = "refiner.height=1280 must be a multiple of 64 plus 16, such as 1232 or 1296"
    with pytest.raises(ValueError, match=rule):
        nets_of(published, replace(PARAMS, width=720, height=1280))
