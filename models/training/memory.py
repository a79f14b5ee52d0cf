"""Trains CAM and APM, as the paper means them: anchor, then condition, then target (StreamingT2V, section 5.1).

    frames of a clip   0 ............. 15 | 16 ... 23 | 24 ... 31
    anchor             one of these
    condition                               these
    target                                  these and     these       the chunk's first 8 frames are the condition's

The base model learns on along with them, on continuations and, so that it does not forget how a video begins, on clips
from frame 0 without memory. (The paper keeps its temporal layers frozen: they had learned from millions of videos.)

Shapes: b clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from models.frames import to_uint8
from models.nets.apm import Apm
from models.nets.cam import Cam
from models.nets.conditioned import control_context, denoise, encode_condition, video_context
from models.nets.image import embed_images
from models.nets.layers import without_dropout
from models.noise import rng_for
from models.training.base import clips
from models.training.captions import Captioner, training_captions
from models.training.pool import Pool
from models.training.stage import LoopParams, TrainStage
from models.training.velocity import Velocity, clip_weights, sample_timesteps

CLIP_FRAMES = 32
CONDITION = slice(16, 24)
TARGET = slice(16, 32)


@dataclass(frozen=True, slots=True)
class MemoryParams:
    loop: LoopParams
    clips: int = 1280  # in the pool
    held_out: int = 32  # clips that the gates look at, never trained on
    image_tokens: int = 4
    merger_head_dim: int = 16
    condition_channels: tuple[int, ...] = (16, 32, 48, 64)
    latent_noise: float = (
        0.15  # on the latents that condition and anchor are decoded from: the model's own are not clean
    )
    text_dropped: float = 0.05
    anchor_dropped: float = 0.05
    both_dropped: float = 0.05
    without_cam: float = 0.1  # of the steps: APM alone has to remember
    beginnings: float = 0.4  # of the steps: the first chunk of a video, without memory
    base_frozen: bool = False
    high_share: float = 0.25
    text_dropout: float = 0.1  # of the beginnings
    object_weight: float = 1.0  # of the loss where the object is: colours of small ones are learned late


@dataclass(frozen=True)
class MemoryPool:
    """Target latents, and what the model will have seen before: decoded frames, as at inference."""

    clips: Pool  # latents of the target frames
    condition: UInt8[np.ndarray, "n f H W 3"]
    anchor: Float[Tensor, "n e"]  # image embedding


@torch.no_grad()
def decode_memories(
    vae: AutoencoderKL, image_encoder: nn.Module, latents: Float[Tensor, "n t c h w"], seed: int, latent_noise: float
) -> tuple[UInt8[np.ndarray, "n f H W 3"], Float[Tensor, "n e"]]:
    """Condition frames and anchor embeddings of 32-frame clips, decoded as at inference, from noisy latents."""
    conditions, anchors = [], []
    for i, half in enumerate(latents):
        rng = rng_for(seed, "memory-pool", 0, i)
        clip = half.float()
        seen = torch.cat([clip[int(rng.integers(16))][None], clip[CONDITION]])
        noise = torch.from_numpy(rng.standard_normal(seen.shape, dtype=np.float32))
        noisy = (seen + rng.uniform(0, latent_noise) * noise) / vae.config.scaling_factor
        images = vae.decode(noisy.to(vae.device)).sample.float()
        conditions.append(to_uint8(images[1:]))
        anchors.append(embed_images(image_encoder, images[:1].clamp(-1, 1))[0].cpu())
    return np.stack(conditions), torch.stack(anchors)


class MemoryStage(TrainStage):
    """CAM and APM start at "no influence" and learn together, and with the base unless that is frozen."""

    def __init__(
        self,
        params: MemoryParams,
        seed: int,
        unet: UNet3DConditionModel,
        captioner: Captioner,
        null_anchor: Float[Tensor, "1 e"],
        pool: MemoryPool,
        held_out: MemoryPool,
        beginnings: Pool,
    ) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.unet, self.beginnings = unet, beginnings
        without_dropout(unet)
        unet.requires_grad_(not params.base_frozen)
        self.captioner, self.null_anchor, self.pool, self.held_out = captioner, null_anchor, pool, held_out
        self.cam = Cam.from_unet(
            unet,
            conditioning_embedding_out_channels=params.condition_channels,
            merger_head_dim=params.merger_head_dim,
        )
        self.apm = Apm.from_unet(
            unet,
            image_embed_dim=null_anchor.shape[-1],
            hidden_dim=2 * null_anchor.shape[-1],
            num_tokens=params.image_tokens,
            text_tokens=captioner.text_encoder.config.max_position_embeddings,
        )
        without_dropout(self.cam)
        self.modules: dict[str, nn.Module] = {"cam": self.cam, "apm": self.apm, "unet": self.unet}
        self.velocity = Velocity()

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-memory", step, worker)
        if rng.random() < self.params.beginnings:
            return self._beginning(rng), {"beginning": 1.0}
        rows = rng.integers(0, len(self.pool.clips), self.loop.batch)
        captions, anchors = self._dropped(rng, rows)
        timestep = sample_timesteps(rng, len(rows), self.params.high_share)
        condition = None if rng.random() < self.params.without_cam else self.pool.condition[rows]
        x0 = clips(self.pool.clips.latents[rows], self.device)
        weight = self._weight(self.pool.clips, rows, TARGET, timestep)
        loss = self._losses(x0, captions, anchors, condition, timestep, rng, weight).mean()
        return loss, {"cam": float(condition is not None)}

    def _beginning(self, rng: np.random.Generator) -> Tensor:
        """The base model's own loss: without it the first chunk would be forgotten."""
        rows = rng.integers(0, len(self.beginnings), self.loop.batch)
        scenes = [self.beginnings.scenes[row] for row in rows]
        captions = training_captions(rng, scenes, self.params.text_dropout)
        timestep = sample_timesteps(rng, len(rows), self.params.high_share)
        context = video_context(self.unet, None, self.captioner(captions), None)
        x0 = clips(self.beginnings.latents[rows], self.device)
        weight = self._weight(self.beginnings, rows, slice(0, x0.shape[2]), timestep)
        return self.velocity.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight).mean()

    def _weight(self, pool: Pool, rows: np.ndarray, frames: slice, timestep: Tensor) -> Tensor | None:
        weight = clip_weights(pool, rows, frames, timestep, self.params.object_weight)
        return None if weight is None else weight.to(self.device)

    def _dropped(self, rng: np.random.Generator, rows: np.ndarray) -> tuple[list[str], Float[Tensor, "b e"]]:
        """Captions and anchor embeddings with the text, the anchor, or both left out now and then."""
        params = self.params
        captions = training_captions(rng, [self.pool.clips.scenes[row] for row in rows], 0.0)
        draw = rng.random(len(rows))
        no_text = (draw < params.text_dropped) | (draw > 1 - params.both_dropped)
        no_anchor = draw > 1 - params.both_dropped - params.anchor_dropped
        captions = ["" if gone else caption for gone, caption in zip(no_text, captions, strict=True)]
        anchors = torch.where(torch.from_numpy(no_anchor)[:, None], self.null_anchor, self.pool.anchor[rows])
        return captions, anchors

    def _losses(
        self,
        x0: Float[Tensor, "b c t h w"],
        captions: list[str],
        anchors: Float[Tensor, "b e"],
        condition: UInt8[np.ndarray, "b f H W 3"] | None,
        timestep: Tensor,
        rng: np.random.Generator,
        weight: Float[Tensor, "b 1 t h w"] | None = None,
    ) -> Float[Tensor, " b"]:
        text = self.captioner(captions)
        context = video_context(self.unet, self.apm, text, anchors.to(self.device))
        if condition is None:
            return self.velocity.loss(lambda x, t: denoise(self.unet, x, t, context), x0, timestep, rng, weight)
        encoded = encode_condition(self.cam, _pixels(condition).to(self.device))
        control = control_context(self.cam, text)
        return self.velocity.loss(
            lambda x, t: denoise(self.unet, x, t, context, self.cam, encoded, control), x0, timestep, rng, weight
        )

    def gates(self) -> dict[str, float]:
        """Held-out loss: as it is, with another clip's condition, without CAM, with another clip's or no anchor."""
        pool = self.held_out
        other = np.roll(np.arange(len(pool.clips)), 1)
        captions = [scene.caption() for scene in pool.clips.scenes]
        nobody = self.null_anchor.expand(len(other), -1)
        cases = {
            "loss": (pool.condition, pool.anchor),
            "wrong_condition": (pool.condition[other], pool.anchor),
            "no_cam": (None, pool.anchor),
            "no_cam_wrong_anchor": (None, pool.anchor[other]),
            "no_cam_null_anchor": (None, nobody),
            "wrong_anchor": (pool.condition, pool.anchor[other]),
        }
        figures = {}
        for level in (950, 800):
            timestep = torch.full((len(other),), level)
            for name, (condition, anchor) in cases.items():
                rng = rng_for(self.seed, "held-out-memory", level, 0)
                losses = self._losses(
                    clips(pool.clips.latents, self.device), captions, anchor, condition, timestep, rng
                )
                figures[f"{name}_{level}"] = losses.mean().item()
        return figures


def _pixels(frames: UInt8[np.ndarray, "b f H W 3"]) -> Float[Tensor, "b f 3 H W"]:
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
