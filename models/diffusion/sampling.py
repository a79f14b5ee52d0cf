"""Samplers, kinds of prediction and guidance, as pure functions of a schedule of sigmas.

State in, state out, and everything pointwise: frames may be split over windows anywhere and each gets the same bits.
A step of a video is, for i = 0 .. len(timesteps) - 1 and history = None before the first,

    x0 = to_x0(schedule, network(x, t), x, t)
    x, history = sampler(schedule, timesteps, i, x, x0, history, noise)

Only separate products and sums are used, no fused multiply-add: its rounding could depend on where in an array a frame
lies.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.diffusion.names import check_sampler
from longtake.models.diffusion.schedule import NoiseSchedule, Timestep

__all__ = [
    "NoiseSchedule",
    "Sampler",
    "add_noise",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "guide",
    "rescale_guidance",
    "rows",
    "sampler_for",
    "start",
    "to_x0",
]


@runtime_checkable  # for beartype
class Sampler(Protocol):
    """One step: from timestep i to the next, or to the end of the schedule after the last one."""

    def __call__(
        self,
        schedule: NoiseSchedule,
        timesteps: Sequence[Timestep],
        i: int,
        x: Float[Tensor, "*shape"],
        x0: Float[Tensor, "*shape"],
        history: Float[Tensor, "*shape"] | None,
        noise: Float[Tensor, "*shape"],
        /,
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"] | None]: ...


def sampler_for(name: str, eta: float = 0.0) -> Sampler:
    """The sampler of a config. `eta` is DDIM's share of fresh noise; those of the multistep samplers are fixed."""
    check_sampler(name)
    if name == "ddim":
        return partial(ddim, eta=eta)
    return dpmpp_2m if name == "dpmpp_2m" else dpmpp_2m_sde


def draws_noise(name: str, eta: float) -> bool:
    """Whether a sampler reads its noise: DDIM without eta and DPM++ 2M do not, so none need be drawn."""
    return name == "dpmpp_2m_sde" or (name == "ddim" and eta > 0)


# ---- kinds of prediction


def to_x0(
    schedule: NoiseSchedule, output: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"], timestep: Timestep
) -> Float[Tensor, "*shape"]:
    """x0 from the network's output."""
    alpha, sigma = schedule.level(round(timestep))
    if schedule.prediction_type == "epsilon":
        return (x - sigma * output) / alpha
    if schedule.prediction_type == "v_prediction":
        return alpha * x - sigma * output
    return output


def add_noise(
    schedule: NoiseSchedule, x0: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], timestep: Timestep
) -> Float[Tensor, "*shape"]:
    """x at a timestep."""
    alpha, sigma = schedule.level(timestep)
    return alpha * x0 + sigma * noise


def start(
    schedule: NoiseSchedule, timesteps: Sequence[Timestep], x0: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The start of sampling (SDEdit): x at the first timestep."""
    x = add_noise(schedule, x0, noise, timesteps[0])
    return schedule.level(timesteps[0])[1] * x if schedule.scale_start else x


# ---- samplers


def ddim(
    schedule: NoiseSchedule,
    timesteps: Sequence[Timestep],
    i: int,
    x: Float[Tensor, "*shape"],
    x0: Float[Tensor, "*shape"],
    history: Float[Tensor, "*shape"] | None,
    noise: Float[Tensor, "*shape"],
    eta: float = 0.0,
) -> tuple[Float[Tensor, "*shape"], None]:
    """DDIM (arXiv 2010.02502); eta 0 is deterministic, eta 1 is DDPM. It keeps no history.

    The step goes to the next timestep of the list. diffusers counts back by `T // num_inference_steps` instead, which
    misses the next one if the spacing is linspace, or trailing and the division leaves a remainder.
    """
    alpha, sigma = schedule.level(timesteps[i])
    next_alpha = schedule.level(timesteps[i + 1])[0] if i + 1 < len(timesteps) else schedule.final_alpha
    variance = (1 - next_alpha**2) / sigma**2 * (1 - (alpha / next_alpha) ** 2)
    fresh = eta * math.sqrt(max(0.0, variance))
    keep = math.sqrt(max(0.0, 1 - next_alpha**2 - fresh**2)) / sigma
    x = keep * x + (next_alpha - keep * alpha) * x0
    return (x + fresh * noise if fresh > 0 else x), None


def dpmpp_2m_sde(
    schedule: NoiseSchedule,
    timesteps: Sequence[Timestep],
    i: int,
    x: Float[Tensor, "*shape"],
    x0: Float[Tensor, "*shape"],
    history: Float[Tensor, "*shape"] | None,
    noise: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """DPM-Solver++ (2M) SDE, midpoint, eta 1 (arXiv 2211.01095; k-diffusion's `sample_dpmpp_2m_sde`).

    Its history is the x0 of the step before; k-diffusion's x is x / alpha here. The last step gives x0 itself.
    """
    if i + 1 == len(timesteps):
        return x0, x0
    decay, denoised = _second_order(schedule, timesteps, i, x0, history)
    _, sigma = _finite_level(schedule, timesteps[i])
    next_alpha, next_sigma = _finite_level(schedule, timesteps[i + 1])
    share = 1 - decay**2
    x = (next_sigma / sigma * decay) * x + (next_alpha * share) * denoised + (next_sigma * math.sqrt(share)) * noise
    return x, x0


def dpmpp_2m(
    schedule: NoiseSchedule,
    timesteps: Sequence[Timestep],
    i: int,
    x: Float[Tensor, "*shape"],
    x0: Float[Tensor, "*shape"],
    history: Float[Tensor, "*shape"] | None,
    noise: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """DPM-Solver++ (2M), midpoint, which reads no noise (arXiv 2211.01095; diffusers' DPMSolverMultistepScheduler).

    Its history is the x0 of the step before. The last step gives x0 itself.
    """
    if i + 1 == len(timesteps):
        return x0, x0
    decay, denoised = _second_order(schedule, timesteps, i, x0, history)
    _, sigma = _finite_level(schedule, timesteps[i])
    next_alpha, next_sigma = _finite_level(schedule, timesteps[i + 1])
    return (next_sigma / sigma) * x + (next_alpha * (1 - decay)) * denoised, x0


def _second_order(
    schedule: NoiseSchedule,
    timesteps: Sequence[Timestep],
    i: int,
    x0: Float[Tensor, "*shape"],
    history: Float[Tensor, "*shape"] | None,
) -> tuple[float, Float[Tensor, "*shape"]]:
    """The ratio of the next k to this one, and x0 carried half a step onwards along its change since the last step."""
    alpha, sigma = _finite_level(schedule, timesteps[i])
    next_alpha, next_sigma = _finite_level(schedule, timesteps[i + 1])
    decay = (next_sigma / next_alpha) / (sigma / alpha)
    if history is None:
        return decay, x0
    last_alpha, last_sigma = _finite_level(schedule, timesteps[i - 1])
    lean = 0.5 * -math.log(decay) / math.log((last_sigma / last_alpha) / (sigma / alpha))
    return decay, (1 + lean) * x0 - lean * history


def _finite_level(schedule: NoiseSchedule, timestep: Timestep) -> tuple[float, float]:
    # At zero terminal SNR k is infinite. diffusers' solver takes alpha = 2^-12, the root of float16's least number.
    alpha, sigma = schedule.level(timestep)
    return max(alpha, 2.0**-12), sigma


# ---- guidance


def rows(guidance_scale: float, anchor_guidance_scale: float | None = None) -> int:
    """The number of predictions that guidance needs: 1 (none), 2 (one weight) or 3 (weights for text and anchor)."""
    if anchor_guidance_scale is not None:
        return 3
    return 1 if guidance_scale == 1 else 2


def guide(
    predictions: Float[Tensor, "rows ..."],
    guidance_scale: float,
    anchor_guidance_scale: float | None = None,
    guidance_rescale: float = 0.0,
) -> Float[Tensor, "..."]:
    """The guided prediction for one window or chunk, from `rows(...)` predictions.

    1 row   [(text, anchor)]                                      as it is
    2 rows  [(null, null), (text, anchor)]                        classifier-free guidance
    3 rows  [(null, null), (text, null), (text, anchor)]          StreamingT2V's appendix: a weight for each difference

    The last row is the full condition, which `guidance_rescale` pulls the contrast back to.
    """
    weights = (guidance_scale,) if anchor_guidance_scale is None else (guidance_scale, anchor_guidance_scale)
    needed = rows(guidance_scale, anchor_guidance_scale)
    if len(predictions) != needed:
        raise ValueError(f"{len(predictions)} predictions given, but guidance of weight {weights} needs {needed}")
    if needed == 1:
        return predictions[0]
    guided = predictions[0]
    for weight, before, after in zip(weights, predictions[:-1], predictions[1:], strict=True):
        guided = guided + weight * (after - before)
    return rescale_guidance(guided, predictions[-1], guidance_rescale)


def rescale_guidance(
    guided: Float[Tensor, "*shape"], full: Float[Tensor, "*shape"], guidance_rescale: float
) -> Float[Tensor, "*shape"]:
    """Part of the way (0 none, 1 all) back to the contrast of the full condition (arXiv 2305.08891, section 3.4).

    The unbiased standard deviations are over the whole window or chunk, as in the published code.
    """
    if guidance_rescale == 0:
        return guided
    return guided * (guidance_rescale * (torch.std(full) / torch.std(guided)) + (1 - guidance_rescale))
