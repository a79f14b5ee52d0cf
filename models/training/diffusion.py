"""The diffusion loss. The tiny bundle predicts v, on a schedule with zero terminal SNR.

Shapes: b clips, c channels, t frames, h w latent rows and columns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from longtake.models.diffusion.sampling import NoiseSchedule

TINY_SCHEDULE = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
    "clip_sample": False,
}

Predict = Callable[[Float[Tensor, "b c t h w"], Int[Tensor, " b"]], Float[Tensor, "b c t h w"]]


class DiffusionLoss:
    """Mean squared error of the prediction, of the kind that a schedule names; its tables are kept as tensors."""

    def __init__(self, config: Mapping[str, Any] = TINY_SCHEDULE) -> None:
        schedule = NoiseSchedule.from_config(config)
        self.predicts = schedule.prediction_type
        self.alphas, self.sigmas = (torch.from_numpy(t).float() for t in (schedule.alphas, schedule.sigmas))

    def loss(
        self,
        predict: Predict,
        x0: Float[Tensor, "b c t h w"],
        timestep: Int[Tensor, " b"],
        rng: np.random.Generator,
        weight: Float[Tensor, "b 1 t h w"] | None = None,
        error: Float[Tensor, "b c t h w"] | None = None,
    ) -> Float[Tensor, " b"]:
        """One loss per clip; `weight` weights the latents, and `error` is added to the noise.

        SDEdit begins with alpha * given + sigma * noise, that is with x0 and a noise that has alpha / sigma * (given -
        x0) in it. A sampler that draws no noise of its own keeps that noise, also when the prediction is x0 by then.
        """
        noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32)).to(x0.device)
        noise = noise if error is None else noise + error
        tables = (self.alphas[timestep], self.sigmas[timestep])
        alpha, sigma = (level.to(x0.device)[:, None, None, None, None] for level in tables)
        targets = {"v_prediction": alpha * noise - sigma * x0, "epsilon": noise, "sample": x0}
        predicted = predict(alpha * x0 + sigma * noise, timestep.to(x0.device)).float()
        squared = (predicted - targets[self.predicts]) ** 2
        return (squared if weight is None else squared * weight).flatten(1).mean(1)

    def noise_of(
        self, error: Float[Tensor, "b c t h w"], timestep: Int[Tensor, " b"], begin: int
    ) -> Float[Tensor, "b c t h w"]:
        """The `error` argument of `loss` for a given picture from which sampling begins at `begin`, or above it."""
        at = timestep.clamp(min=begin)
        return error * (self.alphas[at] / self.sigmas[at]).to(error.device)[:, None, None, None, None]


def sample_timesteps(rng: np.random.Generator, count: int, high_share: float, limit: int = 1000) -> Int[Tensor, " b"]:
    """Uniform in 0..limit-1, but a share of them in the noisiest tenth: only there is the caption needed for motion."""
    uniform = rng.integers(0, limit, count)
    high = rng.integers(limit - limit // 10, limit, count)
    return torch.from_numpy(np.where(rng.random(count) < high_share, high, uniform))


def clips(latents: Float[Tensor, "b t c h w"], device: torch.device) -> Float[Tensor, "b c t h w"]:
    """Stored latents in the UNet's layout, float32."""
    return rearrange(latents.to(device).float(), "b t c h w -> b c t h w")
