"""Trains the tiny refiner: text to 24 frames of 128 px, on the lower noise levels that SDEdit uses.

The paper's refiner is a text-to-video model that never saw the base model; so is this one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.nets.conditioned import denoise, video_context
from models.noise import rng_for
from models.training.base import clips, new_unet
from models.training.captions import Captioner, swap_gaps, training_captions
from models.training.pool import Pool
from models.training.stage import LoopParams, TrainStage
from models.training.velocity import Velocity, clip_weights, sample_timesteps

CLIP_FRAMES = 24


@dataclass(frozen=True, slots=True)
class RefinerTrainParams:
    loop: LoopParams  # batch counts clips of 24 frames
    clips: int = 384  # in the pool
    held_out: int = 16  # clips that the gates look at, never trained on
    block_out_channels: tuple[int, ...] = (32, 64)
    head_dim: int = 16
    short_share: float = 0.6  # of the steps: 4 consecutive frames, six times as many clips
    text_dropout: float = 0.1
    levels: int = 800  # noise levels that are trained: `strength` above levels / 1000 is out of its range
    object_weight: float = 1.0  # of the loss where the object is


class RefinerStage(TrainStage):
    """v-prediction at 128 px."""

    def __init__(self, params: RefinerTrainParams, seed: int, captioner: Captioner, pool: Pool, held_out: Pool) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.captioner, self.pool, self.held_out = captioner, pool, held_out
        channels, size = pool.latents.shape[2], pool.latents.shape[-1]
        width = captioner.text_encoder.config.hidden_size
        self.unet = new_unet(params.block_out_channels, params.head_dim, channels, width, size)
        self.modules: dict[str, nn.Module] = {"refiner": self.unet}
        self.velocity = Velocity()

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-refiner", step, worker)
        length = 4 if step < self.params.short_share * self.loop.steps else CLIP_FRAMES
        batch = self.loop.batch * CLIP_FRAMES // length
        rows, first = rng.integers(0, len(self.pool), batch), rng.integers(0, CLIP_FRAMES - length + 1)
        x0 = clips(self.pool.latents[rows, first : first + length], self.device)
        captions = training_captions(rng, [self.pool.scenes[row] for row in rows], self.params.text_dropout)
        timestep = sample_timesteps(rng, batch, 0.0, self.params.levels)
        frames = slice(int(first), int(first) + length)
        weight = clip_weights(self.pool, rows, frames, timestep, self.params.object_weight)
        return self._losses(x0, captions, timestep, rng, weight).mean(), {"frames": length}

    def _losses(
        self,
        x0: Tensor,
        captions: list[str],
        timestep: Tensor,
        rng: np.random.Generator,
        weight: Tensor | None = None,
    ) -> Tensor:
        context = video_context(self.unet, None, self.captioner(captions), None)
        weight = None if weight is None else weight.to(self.device)
        return self.velocity.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight)

    def gates(self) -> dict[str, float]:
        """Held-out loss and caption-swap gaps at the noise level where SDEdit starts."""
        x0 = clips(self.held_out.latents, self.device)
        timestep = torch.full((len(x0),), self.params.levels * 3 // 4 - 1)

        def loss(captions: list[str]) -> float:
            rng = rng_for(self.seed, "held-out-refiner", 0, 0)
            return self._losses(x0, captions, timestep, rng).mean().item()

        return swap_gaps(loss, self.held_out.scenes)
