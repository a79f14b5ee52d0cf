"""The diffusion loss of the tiny bundle: v-prediction on a schedule with zero terminal SNR.

Shapes: b clips, c channels, t frames, h w latent rows and columns.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.sampling import NoiseSchedule

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


class Velocity:
    """Mean squared error of v at given timesteps; the tables are kept as tensors."""

    def __init__(self) -> None:
        schedule = NoiseSchedule.from_config(TINY_SCHEDULE)
        self.alphas, self.sigmas = (torch.from_numpy(t).float() for t in (schedule.alphas, schedule.sigmas))

    def loss(
        self, predict: Predict, x0: Float[Tensor, "b c t h w"], timestep: Int[Tensor, " b"], rng: np.random.Generator
    ) -> Float[Tensor, " b"]:
        """One loss a clip."""
        noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32)).to(x0.device)
        tables = (self.alphas[timestep], self.sigmas[timestep])
        alpha, sigma = (level.to(x0.device)[:, None, None, None, None] for level in tables)
        v = predict(alpha * x0 + sigma * noise, timestep.to(x0.device)).float()
        return ((v - (alpha * noise - sigma * x0)) ** 2).flatten(1).mean(1)


def sample_timesteps(rng: np.random.Generator, count: int, high_share: float, limit: int = 1000) -> Int[Tensor, " b"]:
    """Uniform in 0..limit-1, but a share of them in the noisiest tenth: only there is the caption needed for motion."""
    uniform = rng.integers(0, limit, count)
    high = rng.integers(limit - limit // 10, limit, count)
    return torch.from_numpy(np.where(rng.random(count) < high_share, high, uniform))
