"""Training of CAM and APM as in the paper: anchor, then condition, then target (StreamingT2V, section 5.1).

    frames of a clip   0 ............. 15 | 16 ... 23 | 24 ... 31
    anchor             one of these
    condition                               these
    target                                  these and     these       the first 8 frames are the condition's

The base model may learn along with them, on continuations and, so that it does not forget how a video begins, on clips
from frame 0 without memory. (The paper freezes its temporal layers, which had learned from millions of videos.)

Shapes: b clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
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
from longtake.models.training.captions import Captioner
from longtake.models.training.diffusion import TINY_SCHEDULE, DiffusionLoss, clips, sample_timesteps
from longtake.models.training.memories import Memories, MemoryBatch
from longtake.models.training.params import MemoryParams
from longtake.models.training.stage import TrainStage

LEVELS = (950, 800)  # of 1000 noise levels: those of the gates


class MemoryStage(TrainStage):
    """CAM and APM start without influence and are trained together, along with the base model unless it is frozen."""

    def __init__(
        self,
        params: MemoryParams,
        seed: int,
        unet: UNet3DConditionModel,
        captioner: Captioner,
        null_anchor: Float[Tensor, "1 e"],
        pool: Memories,
        held_out: Memories,
        beginnings: Memories | None = None,
        beginning_share: float = 0.0,
        schedule: Mapping[str, Any] = TINY_SCHEDULE,
        cam: Cam | None = None,
        apm: Apm | None = None,
    ) -> None:
        """Training starts from `cam` and `apm`; without them, from new ones that change nothing yet.

        A share `beginning_share` of the steps learns from `beginnings`: clips without memory. Raises ValueError if
        there is a share but no such clips.
        """
        if beginning_share and beginnings is None:
            raise ValueError(f"beginning_share={beginning_share} must be 0: there are no clips that begin a video")
        self.params, self.seed, self.loop = params, seed, params.loop
        self.unet, self.beginnings, self.beginning_share = unet, beginnings, beginning_share
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
        if rng.random() < self.beginning_share and self.beginnings is not None:
            return self._beginning(rng, self.beginnings), {"beginning": 1.0}
        rows = rng.integers(0, len(self.pool), self.loop.batch)
        batch = self._dropped(rng, self.pool.batch(rows, rng))
        timestep = sample_timesteps(rng, len(rows), self.params.high_share, len(self.diffusion.alphas))
        if rng.random() < self.params.without_cam:
            batch = replace(batch, condition=None)
        weight = self.pool.weight(rows, timestep)
        return self._losses(batch, timestep, rng, weight).mean(), {"cam": float(batch.condition is not None)}

    def _beginning(self, rng: np.random.Generator, beginnings: Memories) -> Tensor:
        """The base model's own loss: without it the first chunk would be forgotten."""
        rows = rng.integers(0, len(beginnings), self.loop.batch)
        batch = beginnings.batch(rows, rng)
        timestep = sample_timesteps(rng, len(rows), self.params.high_share, len(self.diffusion.alphas))
        return self._losses(batch, timestep, rng, beginnings.weight(rows, timestep)).mean()

    def _dropped(self, rng: np.random.Generator, batch: MemoryBatch) -> MemoryBatch:
        """The batch with the text, the anchor, or both left out at random."""
        params = self.params
        draw = rng.random(len(batch.captions))
        no_text = (draw < params.text_dropped) | (draw > 1 - params.both_dropped)
        no_anchor = draw > 1 - params.both_dropped - params.anchor_dropped
        captions = ["" if gone else caption for gone, caption in zip(no_text, batch.captions, strict=True)]
        assert batch.anchor is not None, "a continuation has an anchor"
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
        weight = None if weight is None else weight.to(self.device)
        if batch.anchor is None:
            context = video_context(self.unet, None, text, None)
        else:
            context = video_context(self.unet, self.apm, text, batch.anchor.to(self.device))
        if batch.condition is None:
            return self.diffusion.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight)
        encoded = encode_condition(self.cam, _pixels(batch.condition).to(self.device))
        control = control_context(self.cam, text)
        return self.diffusion.loss(
            lambda x, t: denoise(self.unet, x, t, context, self.cam, encoded, control), x0, timestep, rng, weight
        )

    def gates(self) -> dict[str, float]:
        """Held-out loss: complete, with another clip's condition, without CAM, with another clip's or no anchor."""
        count = min(self.params.held_out, len(self.held_out))
        rows = np.linspace(0, len(self.held_out) - 1, count).round().astype(int)
        others = np.roll(rows, count // 2)  # neighbours in a pool may be of one video
        sums: defaultdict[str, float] = defaultdict(float)
        for start in range(0, count, self.loop.batch):  # slices of a step's size fit into memory
            piece = slice(start, start + self.loop.batch)
            for name, batch in self._cases(rows[piece], others[piece]).items():
                for level in LEVELS:
                    timestep = torch.full((len(batch.captions),), round(level * len(self.diffusion.alphas) / 1000))
                    rng = rng_for(self.seed, "held-out-memory", level, start)
                    sums[f"{name}_{level}"] += self._losses(batch, timestep, rng).sum().item()
        return {name: total / count for name, total in sums.items()}

    def _cases(self, rows: np.ndarray, others: np.ndarray) -> dict[str, MemoryBatch]:
        whole, other = self.held_out.batch(rows), self.held_out.batch(others)
        null_anchor = self.null_anchor.expand(len(rows), -1)
        return {
            "loss": whole,
            "wrong_condition": replace(whole, condition=other.condition),
            "no_cam": replace(whole, condition=None),
            "no_cam_wrong_anchor": replace(whole, condition=None, anchor=other.anchor),
            "no_cam_null_anchor": replace(whole, condition=None, anchor=null_anchor),
            "wrong_anchor": replace(whole, anchor=other.anchor),
        }


def _pixels(frames: UInt8[np.ndarray, "b f H W 3"]) -> Float[Tensor, "b f 3 H W"]:
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
