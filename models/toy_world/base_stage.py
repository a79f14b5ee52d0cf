"""Trains the tiny base model: text to 16 frames of 64 px, without any memory.

First on single frames, then on 4 frames at stride 4, then on all 16: the first two phases cost a fraction and teach
appearance and direction. Shapes: b clips, t frames, c channels, h w latent rows and columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.conditioned import denoise, video_context
from longtake.models.nets.layers import without_dropout
from longtake.models.toy_world.captions import swap_gaps, training_captions
from longtake.models.toy_world.clip_pool import ClipPool
from longtake.models.training.captions import Captioner
from longtake.models.training.diffusion import DiffusionLoss, clips, sample_timesteps
from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage

CLIP_FRAMES = 16


@dataclass(frozen=True, slots=True)
class BaseTrainParams:
    loop: LoopParams
    clips: int = 3072  # in the pool
    held_out: int = 24  # clips for the gates, never trained on
    block_out_channels: tuple[int, ...] = (48, 96)
    head_dim: int = 16
    image_share: float = 0.15  # of the steps: single frames
    stride_share: float = 0.35  # of the steps: 4 frames at stride 4
    text_dropout: float = 0.1
    high_share: float = 0.5  # of the timesteps: in the noisiest tenth


def new_unet(blocks: tuple[int, ...], head_dim: int, channels: int, text_width: int, size: int) -> UNet3DConditionModel:
    """A small UNet3DConditionModel without dropout."""
    unet = UNet3DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=blocks,
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=text_width,
        attention_head_dim=head_dim,
        down_block_types=("CrossAttnDownBlock3D",) * len(blocks),
        up_block_types=("CrossAttnUpBlock3D",) * len(blocks),
    )
    without_dropout(unet)
    return unet


class BaseStage(TrainStage):
    """v-prediction on clips that begin at frame 0, where the direction word shows."""

    def __init__(
        self, params: BaseTrainParams, seed: int, captioner: Captioner, pool: ClipPool, held_out: ClipPool
    ) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.captioner, self.pool, self.held_out = captioner, pool, held_out
        channels, size = pool.latents.shape[2], pool.latents.shape[-1]
        width = captioner.text_encoder.config.hidden_size
        self.unet = new_unet(params.block_out_channels, params.head_dim, channels, width, size)
        self.modules: dict[str, nn.Module] = {"base": self.unet}  # `memory` makes the bundle's unet of it
        self.diffusion = DiffusionLoss()

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-base", step, worker)
        frames = self._frames(rng, step)
        # equally many frames a step in every phase; single frames share nothing, so half as many suffice
        batch = self.loop.batch * CLIP_FRAMES // len(frames) // (2 if len(frames) == 1 else 1)
        rows = rng.integers(0, len(self.pool), batch)
        x0 = clips(self.pool.latents[rows][:, frames], self.device)
        captions = training_captions(rng, [self.pool.scenes[row] for row in rows], self.params.text_dropout)
        timestep = sample_timesteps(rng, batch, self.params.high_share)
        loss = self._losses(x0, captions, timestep, rng).mean()
        return loss, {"frames": len(frames)}

    def _frames(self, rng: np.random.Generator, step: int) -> np.ndarray:
        progress = step / self.loop.steps
        if progress < self.params.image_share:
            return rng.integers(0, CLIP_FRAMES, 1)
        if progress < self.params.image_share + self.params.stride_share:
            return np.arange(rng.integers(0, 4), CLIP_FRAMES, 4)
        return np.arange(CLIP_FRAMES)

    def _losses(self, x0: Tensor, captions: list[str], timestep: Tensor, rng: np.random.Generator) -> Tensor:
        context = video_context(self.unet, None, self.captioner(captions), None)
        return self.diffusion.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng)

    def gates(self) -> dict[str, float]:
        """Held-out loss and caption-swap gaps at pure noise, where the caption is all there is."""
        x0 = clips(self.held_out.latents, self.device)
        timestep = torch.full((len(x0),), 999)

        def loss(captions: list[str]) -> float:
            rng = rng_for(self.seed, "held-out-base", 999, 0)
            return self._losses(x0, captions, timestep, rng).mean().item()

        return {f"{name}_999": gap for name, gap in swap_gaps(loss, self.held_out.scenes).items()}
