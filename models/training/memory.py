"""Trains CAM and APM, as the paper means them: anchor, then condition, then target (StreamingT2V, section 5.1).

    frames of a clip   0 ............. 15 | 16 ... 23 | 24 ... 31
    anchor             one of these
    condition                               these
    target                                  these and     these       the chunk's first 8 frames are the condition's

The base model learns on along with them, on continuations and, so that it does not forget how a video begins, on clips
from frame 0 without memory. (The paper keeps its temporal layers frozen: they had learned from millions of videos.)

Shapes: b clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import UNet3DConditionModel
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.conditioned import control_context, denoise, encode_condition, video_context
from longtake.models.nets.layers import without_dropout
from longtake.models.toy_world.base_stage import clips
from longtake.models.toy_world.clip_pool import Pool
from longtake.models.training.captions import Captioner, training_captions
from longtake.models.training.diffusion import TINY_SCHEDULE, DiffusionLoss, clip_weights, sample_timesteps
from longtake.models.training.memories import Memories, MemoryBatch
from longtake.models.training.stage import LoopParams, TrainStage

LEVELS = (950, 800)  # of 1000 noise levels: where the gates look


@dataclass(frozen=True, slots=True)
class MemoryParams:
    loop: LoopParams
    clips: int = 1280  # in the pool
    held_out: int = 32  # clips that the gates look at, never trained on: so many at most
    image_tokens: int = 16
    merger_head_dim: int = 64
    condition_channels: tuple[int, ...] = (32, 96, 256, 512)  # of CAM's encoder: one more halves the frames once more
    latent_noise: float = (
        0.15  # on the latents that condition and anchor are decoded from: the model's own are not clean
    )
    text_dropped: float = 0.05
    anchor_dropped: float = 0.05
    both_dropped: float = 0.05
    without_cam: float = 0.1  # of the steps: APM alone has to remember
    beginnings: float = 0.0  # of the steps: the first chunk of a video, without memory
    base_frozen: bool = True  # as the paper has it
    high_share: float = 0.0  # of the timesteps: in the noisiest tenth
    text_dropout: float = 0.1  # of the beginnings
    object_weight: float = 1.0  # of the loss where the object is: colours of small ones are learned late
    drift: float = 0.0  # of the condition's colours in half of the clips, standard deviation: the anchor has the right
    gate_rate: float = 10.0  # how many times as fast APM's gates learn

    def __post_init__(self) -> None:
        shares = ("text_dropped", "anchor_dropped", "both_dropped", "without_cam", "beginnings", "high_share")
        for name in (*shares, "text_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be in 0..1")
        for name in ("clips", "held_out", "image_tokens", "merger_head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.condition_channels or min(self.condition_channels) < 1:
            raise ValueError(
                f"condition_channels={list(self.condition_channels)} must be numbers of channels, 1 or more"
            )


class MemoryStage(TrainStage):
    """CAM and APM start at "no influence" and learn together, and with the base unless that is frozen."""

    def __init__(
        self,
        params: MemoryParams,
        seed: int,
        unet: UNet3DConditionModel,
        captioner: Captioner,
        null_anchor: Float[Tensor, "1 e"],
        pool: Memories,
        held_out: Memories,
        beginnings: Pool | None = None,
        schedule: Mapping[str, Any] = TINY_SCHEDULE,
        cam: Cam | None = None,
        apm: Apm | None = None,
    ) -> None:
        """`cam` and `apm` are where training begins; without them, new ones that change nothing yet.

        Raises ValueError if `params` asks for beginnings and there are none.
        """
        if params.beginnings and beginnings is None:
            raise ValueError(f"beginnings={params.beginnings} must be 0: there are no clips that begin a video")
        self.params, self.seed, self.loop = params, seed, params.loop
        self.unet, self.beginnings = unet, beginnings
        without_dropout(unet)
        unet.requires_grad_(not params.base_frozen)
        self.captioner, self.null_anchor, self.pool, self.held_out = captioner, null_anchor, pool, held_out
        self.cam = cam or Cam.from_unet(
            unet,
            conditioning_embedding_out_channels=params.condition_channels,
            merger_head_dim=params.merger_head_dim,
        )
        self.apm = apm or Apm.from_unet(
            unet,
            image_embed_dim=null_anchor.shape[-1],
            hidden_dim=2 * null_anchor.shape[-1],
            num_tokens=params.image_tokens,
            text_tokens=captioner.text_encoder.config.max_position_embeddings,
        )
        without_dropout(self.cam)
        self.cam.requires_grad_(True)
        self.apm.requires_grad_(True)
        self.modules: dict[str, nn.Module] = {"cam": self.cam, "apm": self.apm}
        if not params.base_frozen:
            self.modules["unet"] = self.unet
        self.diffusion = DiffusionLoss(schedule)

    def rate(self, name: str) -> float:
        return self.params.gate_rate if name.startswith("apm.") and name.endswith(".alpha") else 1.0

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-memory", step, worker)
        if rng.random() < self.params.beginnings:
            return self._beginning(rng), {"beginning": 1.0}
        rows = rng.integers(0, len(self.pool), self.loop.batch)
        batch = self._dropped(rng, self.pool.batch(rows, rng))
        timestep = sample_timesteps(rng, len(rows), self.params.high_share, len(self.diffusion.alphas))
        if rng.random() < self.params.without_cam:
            batch = replace(batch, condition=None)
        weight = self._there(self.pool.weight(rows, timestep, self.params.object_weight))
        return self._losses(batch, timestep, rng, weight).mean(), {"cam": float(batch.condition is not None)}

    def _beginning(self, rng: np.random.Generator) -> Tensor:
        """The base model's own loss: without it the first chunk would be forgotten."""
        pool = self.beginnings
        assert pool is not None  # see __init__
        rows = rng.integers(0, len(pool), self.loop.batch)
        captions = training_captions(rng, [pool.scenes[row] for row in rows], self.params.text_dropout)
        timestep = sample_timesteps(rng, len(rows), self.params.high_share)
        context = video_context(self.unet, None, self.captioner(captions), None)
        x0 = clips(pool.latents[rows], self.device)
        numbers = slice(0, x0.shape[2])
        weight = self._there(clip_weights(pool, rows, numbers, timestep, self.params.object_weight))
        return self.diffusion.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight).mean()

    def _there(self, weight: Tensor | None) -> Tensor | None:
        return None if weight is None else weight.to(self.device)

    def _dropped(self, rng: np.random.Generator, batch: MemoryBatch) -> MemoryBatch:
        """The batch with the text, the anchor, or both left out now and then."""
        params = self.params
        draw = rng.random(len(batch.captions))
        no_text = (draw < params.text_dropped) | (draw > 1 - params.both_dropped)
        no_anchor = draw > 1 - params.both_dropped - params.anchor_dropped
        captions = ["" if gone else caption for gone, caption in zip(no_text, batch.captions, strict=True)]
        anchor = torch.where(torch.from_numpy(no_anchor)[:, None], self.null_anchor, batch.anchor)
        return replace(batch, captions=captions, anchor=anchor)

    def _losses(
        self,
        batch: MemoryBatch,
        timestep: Tensor,
        rng: np.random.Generator,
        weight: Float[Tensor, "b 1 t h w"] | None = None,
    ) -> Float[Tensor, " b"]:
        x0, text = clips(batch.latents, self.device), self.captioner(batch.captions)
        context = video_context(self.unet, self.apm, text, batch.anchor.to(self.device))
        if batch.condition is None:
            return self.diffusion.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight)
        encoded = encode_condition(self.cam, _pixels(batch.condition).to(self.device))
        control = control_context(self.cam, text)
        return self.diffusion.loss(
            lambda x, t: denoise(self.unet, x, t, context, self.cam, encoded, control), x0, timestep, rng, weight
        )

    def gates(self) -> dict[str, float]:
        """Held-out loss: as it is, with another clip's condition, without CAM, with another clip's or no anchor."""
        count = min(self.params.held_out, len(self.held_out))
        rows = np.linspace(0, len(self.held_out) - 1, count).round().astype(int)
        others = np.roll(rows, count // 2)  # neighbours in a pool may be of one video
        sums: defaultdict[str, float] = defaultdict(float)
        for start in range(0, count, self.loop.batch):  # a slice of a step's size: what training can hold
            piece = slice(start, start + self.loop.batch)
            for name, batch in self._cases(rows[piece], others[piece]).items():
                for level in LEVELS:
                    timestep = torch.full((len(batch.captions),), round(level * len(self.diffusion.alphas) / 1000))
                    rng = rng_for(self.seed, "held-out-memory", level, start)
                    sums[f"{name}_{level}"] += self._losses(batch, timestep, rng).sum().item()
        return {name: total / count for name, total in sums.items()}

    def _cases(self, rows: np.ndarray, others: np.ndarray) -> dict[str, MemoryBatch]:
        whole, other = self.held_out.batch(rows), self.held_out.batch(others)
        nobody = self.null_anchor.expand(len(rows), -1)
        return {
            "loss": whole,
            "wrong_condition": replace(whole, condition=other.condition),
            "no_cam": replace(whole, condition=None),
            "no_cam_wrong_anchor": replace(whole, condition=None, anchor=other.anchor),
            "no_cam_null_anchor": replace(whole, condition=None, anchor=nobody),
            "wrong_anchor": replace(whole, anchor=other.anchor),
        }


def _pixels(frames: UInt8[np.ndarray, "b f H W 3"]) -> Float[Tensor, "b f 3 H W"]:
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
