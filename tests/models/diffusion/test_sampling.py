"""Samplers against diffusers' own schedulers and against the published refiner's sampler (golden vectors)."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longtake.models.diffusion.blending import composite
from longtake.models.diffusion.sampling import (
    NoiseSchedule,
    add_noise,
    draws_noise,
    guide,
    rescale_guidance,
    rows,
    sampler_for,
    start,
    to_x0,
)
from tests.support.places import SHARED

GOLDEN = SHARED / "golden" / "blending.safetensors"
TINY = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
}
PUBLISHED = TINY | {  # ModelScope's, as StreamingT2V samples it
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
FAST = {"beta_schedule": "logsnr_cosine_interp", "prediction_type": "v_prediction", "timestep_spacing": "trailing"}


@pytest.fixture(scope="module")
def diffusers():
    import diffusers  # takes seconds: only the tests that compare pay for it

    return diffusers


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def network(x: torch.Tensor, timestep: float) -> torch.Tensor:
    """Any function of x and t will do."""
    return 0.6 * x.roll(1, 0) - 0.2 * x.mean() + 0.3 * torch.sin(3 * x) * (timestep / 1000)


def sample(schedule, sampler, timesteps, x):
    history, noises = None, []
    for i, t in enumerate(timesteps):
        noises.append(randn(100 + i, *x.shape))
        x0 = to_x0(schedule, network(x, t), x, t)
        x, history = sampler(schedule, timesteps, i, x, x0, history, noises[-1])
    return x


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Within the tolerance of the largest number: float32 has no more digits than that where numbers are large."""
    torch.testing.assert_close(a, b, atol=tolerance * max(1.0, b.abs().max().item()), rtol=0)


# ---- against diffusers


def from_x0(schedule, x0, x, timestep):
    """The output of an ideal network, whose x0 is right."""
    alpha, sigma = schedule.level(round(timestep))
    if schedule.prediction_type == "epsilon":
        return (x - alpha * x0) / sigma
    return (alpha * x - x0) / sigma if schedule.prediction_type == "v_prediction" else x0


@pytest.mark.parametrize("eta", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("num_steps", [10, 20])
@pytest.mark.parametrize(
    "config",
    [
        TINY,
        TINY | {"prediction_type": "sample"},
        TINY | {"rescale_betas_zero_snr": False, "beta_schedule": "linear"},
        TINY | {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": False},
        PUBLISHED,
        PUBLISHED | {"set_alpha_to_one": True, "prediction_type": "v_prediction"},
    ],
    ids=["tiny", "sample", "linear", "cosine", "published", "published-v"],
)
def test_ddim_gives_the_frames_of_diffusers(diffusers, config, num_steps, eta):
    if eta == 1 and (config["rescale_betas_zero_snr"] or config["beta_schedule"] == "squaredcos_cap_v2"):
        eta = 0.99  # at (almost) zero SNR diffusers takes the root of a difference that float32 may round below zero
    theirs = diffusers.DDIMScheduler.from_config(config)
    theirs.set_timesteps(num_steps)
    x = reference = randn(0, 6, 4, 5, 5)
    schedule = NoiseSchedule.from_config(theirs.config)
    assert schedule.timesteps(num_steps) == tuple(theirs.timesteps.tolist())
    for i, t in enumerate(theirs.timesteps):
        noise = randn(100 + i, *x.shape)
        reference = theirs.step(network(reference, int(t)), t, reference, eta=eta, variance_noise=noise).prev_sample
    ours = sample(schedule, sampler_for("ddim", eta), schedule.timesteps(num_steps), x)
    close(ours, reference)


@pytest.mark.parametrize("num_steps", [8, 20])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize(
    ("prediction_type", "zero_snr"), [("epsilon", False), ("v_prediction", False), ("sample", False), ("sample", True)]
)
def test_dpmpp_2m_sde_gives_the_frames_of_diffusers(diffusers, prediction_type, zero_snr, spacing, num_steps):
    config = TINY | {
        "prediction_type": prediction_type,
        "timestep_spacing": spacing,
        "rescale_betas_zero_snr": zero_snr,
        "algorithm_type": "sde-dpmsolver++",
        "solver_type": "midpoint",
        "solver_order": 2,
    }
    theirs = diffusers.DPMSolverMultistepScheduler.from_config(config)
    theirs.set_timesteps(num_steps)
    schedule = NoiseSchedule.from_config(dict(theirs.config) | {"_class_name": "DPMSolverMultistepScheduler"})
    assert schedule.timesteps(num_steps) == tuple(theirs.timesteps.tolist())
    x = reference = randn(0, 6, 4, 5, 5)
    for i, t in enumerate(theirs.timesteps):
        noise = randn(100 + i, *x.shape)
        reference = theirs.step(network(reference, int(t)), t, reference, variance_noise=noise).prev_sample
    close(sample(schedule, sampler_for("dpmpp_2m_sde"), schedule.timesteps(num_steps), x), reference)


@pytest.mark.parametrize("num_steps", [1, 8, 20, 50])
@pytest.mark.parametrize(
    "config",
    [PUBLISHED, PUBLISHED | {"timestep_spacing": "linspace"}, TINY | {"prediction_type": "sample"}],
    ids=["leading", "linspace", "zero-snr"],
)
def test_dpmpp_2m_gives_the_frames_of_diffusers_from_the_config_of_any_scheduler(diffusers, config, num_steps):
    ddim = diffusers.DDIMScheduler.from_config(config)
    theirs = diffusers.DPMSolverMultistepScheduler.from_config(ddim.config)  # as diffusers' users exchange schedulers
    assert (theirs.config.algorithm_type, theirs.config.solver_order, theirs.config.lower_order_final) == (
        "dpmsolver++",
        2,
        True,
    )
    theirs.set_timesteps(num_steps)
    schedule = NoiseSchedule.from_config(ddim.config, multistep=True)
    assert schedule.timesteps(num_steps) == tuple(theirs.timesteps.tolist())
    x = reference = randn(0, 6, 4, 5, 5)
    for t in theirs.timesteps:
        reference = theirs.step(network(reference, int(t)), t, reference).prev_sample
    close(sample(schedule, sampler_for("dpmpp_2m"), schedule.timesteps(num_steps), x), reference)


def test_a_config_without_a_spacing_has_that_of_the_solver_it_is_used_for(diffusers, tmp_path):
    """ModelScope's scheduler_config.json has none: DDIM leads from 981 down, the solver of its opener from 999."""
    config = {key: value for key, value in PUBLISHED.items() if key != "timestep_spacing"}
    (tmp_path / "scheduler_config.json").write_text(json.dumps({**config, "_class_name": "DDIMScheduler"}))
    ddim = diffusers.DDIMScheduler.from_pretrained(tmp_path)
    solver = diffusers.DPMSolverMultistepScheduler.from_config(ddim.config)
    for theirs, multistep, first in ((ddim, False, 981), (solver, True, 999)):
        theirs.set_timesteps(50)
        timesteps = NoiseSchedule.from_config(config, multistep).timesteps(50)
        assert timesteps == tuple(theirs.timesteps.tolist()) and timesteps[0] == first


def test_a_sampler_that_draws_no_noise_reads_none():
    schedule, x, x0 = NoiseSchedule.from_config(TINY), randn(0, 2, 4, 3, 3), randn(1, 2, 4, 3, 3)
    for name, eta in [("ddim", 0.0), ("ddim", 0.5), ("dpmpp_2m", 0.5), ("dpmpp_2m_sde", 0.0)]:
        steps = [
            sampler_for(name, eta)(schedule, schedule.timesteps(10), 3, x, x0, -x0, noise)[0]
            for noise in (randn(2, *x.shape), randn(3, *x.shape))
        ]
        assert torch.equal(*steps) is not draws_noise(name, eta)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 7, 16, 30, 50, 1000])
def test_timesteps_are_those_of_diffusers(diffusers, spacing, num_steps):
    theirs = diffusers.DDIMScheduler(timestep_spacing=spacing, clip_sample=False)
    theirs.set_timesteps(num_steps)
    ours = NoiseSchedule.from_config(theirs.config).timesteps(num_steps)
    assert ours == tuple(theirs.timesteps.tolist())


# ---- timesteps and levels


def test_steps_below_a_strength_start_below_that_share_of_the_noise_levels():
    schedule = NoiseSchedule.from_config(TINY)
    assert schedule.timesteps(3, strength=0.6) == (599, 399, 199)
    assert schedule.timesteps(4, strength=1.0) == (999, 749, 499, 249)
    assert NoiseSchedule.from_config(PUBLISHED).timesteps(3, strength=0.6) == (401, 201, 1)
    assert NoiseSchedule.from_config(TINY | {"timestep_spacing": "linspace"}).timesteps(3, 0.5) == (499, 250, 0)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_exactly_as_many_steps_come_out_as_are_asked_for_and_they_fall(spacing):
    schedule = NoiseSchedule.from_config(TINY | {"timestep_spacing": spacing})
    for num_steps in range(1, 201, 7):
        for strength in (0.2, 0.31, 0.97, 1.0):
            steps = schedule.timesteps(num_steps, strength)
            assert len(steps) == num_steps
            assert all(a > b for a, b in pairwise(steps))
            assert 0 <= steps[-1] <= steps[0] < round(1000 * strength)


def test_at_zero_terminal_snr_nothing_of_the_picture_is_left():
    schedule = NoiseSchedule.from_config(TINY)
    assert schedule.level(999) == (0.0, 1.0)
    noise = randn(0, 2, 4, 3, 3)
    assert torch.equal(start(schedule, (999,), randn(1, 2, 4, 3, 3), noise), noise)


def test_ddim_with_all_noise_fresh_keeps_nothing_of_pure_noise():
    schedule, timesteps = NoiseSchedule.from_config(TINY), (999, 499)
    x, x0, noise = (randn(k, 2, 4, 3, 3) for k in range(3))
    alpha, sigma = schedule.level(499)
    result, _ = sampler_for("ddim", 1.0)(schedule, timesteps, 0, x, x0, None, noise)  # diffusers gives NaN here
    close(result, alpha * x0 + sigma * noise)


@pytest.mark.parametrize(
    "sampler",
    [sampler_for("ddim", 0.0), sampler_for("ddim", 1.0), sampler_for("dpmpp_2m"), sampler_for("dpmpp_2m_sde")],
)
def test_a_network_that_knows_x0_is_believed(sampler):
    schedule = NoiseSchedule.from_config(TINY)
    timesteps, x0 = schedule.timesteps(10), randn(1, 3, 4, 5, 5)
    x, history = start(schedule, timesteps, x0, randn(2, *x0.shape)), None
    for i, t in enumerate(timesteps):
        prediction = to_x0(schedule, from_x0(schedule, x0, x, t), x, t)
        x, history = sampler(schedule, timesteps, i, x, prediction, history, randn(3 + i, *x0.shape))
    close(x, x0, 1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_to_x0_and_from_x0_are_inverse(prediction_type):
    schedule = NoiseSchedule.from_config(PUBLISHED | {"prediction_type": prediction_type})
    x0, noise = randn(0, 2, 4, 3, 3), randn(1, 2, 4, 3, 3)
    for t in (1, 200, 600):
        x = add_noise(schedule, x0, noise, t)
        output = from_x0(schedule, x0, x, t)
        close(to_x0(schedule, output, x, t), x0)
        if prediction_type == "epsilon":
            close(output, noise, 1e-4)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "dpmpp_2m_sde"])
@pytest.mark.parametrize("i", [0, 4, 9])
def test_a_step_is_pointwise_bit_for_bit(name, i):
    schedule, sampler = NoiseSchedule.from_config(TINY), sampler_for(name, 1.0 if name == "ddim" else 0.0)
    timesteps = schedule.timesteps(10)
    x, x0, last, noise = (randn(k, 40, 4, 3, 5) for k in range(4))
    history = None if i == 0 else last
    whole, remembered = sampler(schedule, timesteps, i, x, x0, history, noise)
    for a, b in ((0, 24), (16, 40), (7, 8)):
        part = slice(a, b)
        of_part = None if history is None else history[part].clone()
        arrays = (array[part].clone() for array in (x, x0))
        x_part, history_part = sampler(schedule, timesteps, i, *arrays, of_part, noise[part].clone())
        assert torch.equal(x_part, whole[part])
        assert (remembered is None) == (history_part is None)
        assert remembered is None or torch.equal(history_part, remembered[part])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid' must be one of linear"),
        ({"timestep_spacing": "even"}, "timestep_spacing='even' must be one of leading"),
        ({"prediction_type": "flow"}, "prediction_type='flow' must be one of epsilon"),
        ({"prediction_type": "epsilon"}, "zero terminal SNR"),
        ({"clip_sample": True}, "clip_sample=True is not supported"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas=True is not supported"),
    ],
)
def test_a_config_that_would_give_other_frames_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        NoiseSchedule.from_config(TINY | change)


@pytest.mark.parametrize(
    ("num_steps", "strength", "message"),
    [
        (0, 1.0, r"num_inference_steps=0 must be in 1\.\.1000"),
        (101, 0.1, r"num_inference_steps=101 must be in 1\.\.100, as strength=0.1 leaves 100 of 1000"),
        (5, 0.0, "strength=0.0 must be above 0"),
        (5, 1.1, "strength=1.1 must be above 0 and at most 1"),
        (5, float("nan"), "strength=nan"),
    ],
)
def test_steps_that_do_not_fit_the_noise_levels_are_refused(num_steps, strength, message):
    with pytest.raises(ValueError, match=message):
        NoiseSchedule.from_config(TINY).timesteps(num_steps, strength)


def test_a_steps_offset_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match="steps_offset=1 leads to timestep 1000"):
        NoiseSchedule.from_config(PUBLISHED).timesteps(1000)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="sampler='euler' must be one of ddim, dpmpp_2m, dpmpp_2m_sde"):
        sampler_for("euler")


# ---- guidance


def test_two_predictions_are_guided_by_one_weight():
    null, full = randn(0, 3, 4, 2, 2), randn(1, 3, 4, 2, 2)
    assert rows(7.5) == 2
    close(guide(torch.stack([null, full]), 7.5), null + 7.5 * (full - null))


def test_three_predictions_are_guided_by_a_weight_for_the_text_and_one_for_the_anchor():
    null, text, full = (randn(k, 3, 4, 2, 2) for k in range(3))
    assert rows(7.5, 2.0) == 3
    close(guide(torch.stack([null, text, full]), 7.5, 2.0), null + 7.5 * (text - null) + 2.0 * (full - text))
    close(guide(torch.stack([null, text, full]), 1.0, 1.0), full)


def test_without_guidance_one_prediction_is_enough_and_is_not_touched():
    full = randn(0, 3, 4, 2, 2)
    assert rows(1.0) == 1
    assert torch.equal(guide(full[None], 1.0, guidance_rescale=0.7), full)


def test_full_rescale_restores_the_contrast_of_the_full_condition():
    null, full = randn(0, 3, 4, 8, 8), randn(1, 3, 4, 8, 8)
    guided = guide(torch.stack([null, full]), 9.0, guidance_rescale=1.0)
    close(torch.std(guided), torch.std(full))


def test_partial_rescale_mixes_the_contrast_of_both():
    guided, full = randn(0, 3, 4, 8, 8) * 3, randn(1, 3, 4, 8, 8)
    ratio = np.std(full.numpy(), ddof=1) / np.std(guided.numpy(), ddof=1)
    close(rescale_guidance(guided, full, 0.7), guided * float(0.7 * ratio + 0.3))
    assert torch.equal(rescale_guidance(guided, full, 0.0), guided)


def test_a_wrong_number_of_predictions_is_refused():
    with pytest.raises(ValueError, match=r"2 predictions given, but guidance of weight \(7\.5, 2\.0\) needs 3"):
        guide(randn(0, 2, 3, 4, 2, 2), 7.5, 2.0)


# ---- golden: the published refiner's sampler with randomized blending


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"golden vectors are absent: {GOLDEN.name}")
    return load_file(GOLDEN)


def stub(x: torch.Tensor, timestep: int, y: torch.Tensor) -> torch.Tensor:
    """The stub network of the golden vectors; x is t c h w."""
    place = (torch.arange(len(x)) / len(x)).reshape(-1, 1, 1, 1)
    text = 0.2 * torch.tanh(y).reshape(1, -1, 1, 1) * (1 + place)
    return 0.6 * x.roll(1, 0) - 0.3 * x.mean(0, keepdim=True) + text + 0.1 * (timestep / 1000) * torch.sin(3 * x)


def test_the_published_table_of_sigmas_is_reproduced(golden):
    schedule = NoiseSchedule.from_config(FAST)
    np.testing.assert_allclose(schedule.sigmas, golden["table.sigmas_1000"], atol=1e-6)
    # The published alphas are sqrt(1 - sigma^2) in float32, which loses digits as sigma comes near 1.
    np.testing.assert_allclose(schedule.alphas, golden["table.alphas_1000"], atol=5e-5)
    np.testing.assert_allclose(schedule.alphas[:600], golden["table.alphas_1000"][:600], atol=1e-6)


def test_the_published_steps_are_reproduced(golden):
    schedule = NoiseSchedule.from_config(FAST)
    timesteps = schedule.timesteps(30, strength=0.6)
    assert [round(t) for t in timesteps] == golden["sched.t_per_step"].tolist()
    levels = [schedule.level(t) for t in timesteps]
    np.testing.assert_allclose([s / a for a, s in levels], golden["sched.sigmas_k"][:-1], rtol=1e-5)


def test_the_quirks_of_the_published_sampler_can_be_switched_off():
    schedule = NoiseSchedule.from_config(FAST | {"fast_steps": False, "scale_start": False})
    assert schedule.timesteps(3, strength=0.6) == (599, 399, 199)
    x0, noise = randn(0, 2, 4, 3, 3), randn(1, 2, 4, 3, 3)
    assert torch.equal(start(schedule, (599,), x0, noise), add_noise(schedule, x0, noise, 599))


def test_thirty_blended_steps_give_the_published_latents(golden):
    schedule, sampler = NoiseSchedule.from_config(FAST), sampler_for("dpmpp_2m_sde")
    timesteps = schedule.timesteps(30, strength=0.6)
    frames_first = {name: golden[name][0].transpose(0, 1) for name in ("in.z0", "in.noise", "out.latents")}
    z0, start_noise = frames_first["in.z0"], frames_first["in.noise"]
    noises = golden["brownian.noise"].float().transpose(1, 2)
    windows = [slice(0, 24), slice(16, 40), slice(32, 56)]
    close(add_noise(schedule, z0, start_noise, 599), golden["in.xt_start"][0].transpose(0, 1))

    # Each window on its own, with its neighbours' boundaries: the way the refiner does it.
    xs = [start(schedule, timesteps, z0[w], start_noise[w]) for w in windows]
    histories = [None] * 3
    for i, t in enumerate(timesteps):
        x0s = []
        for x in xs:
            outputs = [stub(x, round(t), golden[name][0]) for name in ("in.y_neg", "in.y")]
            x0s.append(to_x0(schedule, guide(torch.stack(outputs), 7.5, guidance_rescale=0.2), x, t))
        cuts = [0, *golden["rb.thresholds"][i].tolist(), 0]
        if f"step.{i}.model_input" in golden:  # of unit variance: k-diffusion's x times 1 / sqrt(k^2 + 1)
            for x, w in zip(xs, windows, strict=True):
                close(x, golden[f"step.{i}.model_input"][0].transpose(0, 1)[w], 1e-5)
        blended = [
            composite(x0s[k], x0s[k - 1][-8:] if k else None, x0s[k + 1][:8] if k < 2 else None, cuts[k], cuts[k + 1])
            for k in range(3)
        ]
        if f"step.{i}.x0_blended" in golden:
            for x0, w in zip(blended, windows, strict=True):
                close(x0, golden[f"step.{i}.x0_blended"][0].transpose(0, 1)[w], 1e-5)
        for k, w in enumerate(windows):
            noise = noises[min(i, 28)][w]
            xs[k], histories[k] = sampler(schedule, timesteps, i, xs[k], blended[k], histories[k], noise)
        assert all(torch.equal(xs[k][-8:], xs[k + 1][:8]) for k in range(2))
    for x, w in zip(xs, windows, strict=True):
        torch.testing.assert_close(x, frames_first["out.latents"][w], atol=1e-4, rtol=0)
