"""Clips of the moving-shapes world for the training of CAM and APM (models/training/memory.py).

Shapes: b n clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns,
e embedding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.image import embed_images
from longtake.models.toy_world.captions import training_captions
from longtake.models.toy_world.clip_pool import ClipPool
from longtake.models.toy_world.object_weights import clip_weights
from longtake.models.toy_world.render import object_masks
from longtake.models.training.memories import CONDITION, TARGET, MemoryBatch
from longtake.models.training.params import MemoryParams
from longtake.models.video.frames import to_uint8


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyMemoryParams(MemoryParams):
    """The settings of the memory training that need rendered scenes, whose objects and colours are known."""

    clips: int = 1280  # in the pool
    latent_noise: float = (
        0.15  # on the latents that condition and anchor are decoded from: the model's own are not clean
    )
    beginnings: float = 0.0  # of the steps: the first chunk of a video, without memory
    text_dropout: float = 0.1  # of the beginnings
    object_weight: float = 1.0  # of the loss where the object is: colours of small ones are learned late
    drift: float = 0.0  # of the condition's colours in half of the clips, standard deviation: the anchor has the right

    def __post_init__(self) -> None:
        MemoryParams.__post_init__(self)
        for name in ("beginnings", "text_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be in 0..1")
        if self.clips < 1:
            raise ValueError(f"clips={self.clips} must be at least 1")


@dataclass(frozen=True)
class MemoryPool:
    """Continuations: clips with the frames and the anchor that precede them."""

    clips: ClipPool  # latents of the target frames
    condition: UInt8[np.ndarray, "n f H W 3"]
    anchor: Float[Tensor, "n e"]
    object_weight: float = 1.0

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        scenes = [self.clips.scenes[row] for row in rows]
        captions = [scene.caption() for scene in scenes] if rng is None else training_captions(rng, scenes, 0.0)
        return MemoryBatch(self.clips.latents[rows], self.condition[rows], self.anchor[rows], captions)

    def weight(self, rows: np.ndarray, timestep: Tensor) -> Float[Tensor, "b 1 t h w"] | None:
        return clip_weights(self.clips, rows, TARGET, timestep, self.object_weight)


@dataclass(frozen=True)
class BeginningPool:
    """First chunks of videos: clips from frame 0, without memory."""

    clips: ClipPool
    text_dropout: float = 0.0
    object_weight: float = 1.0

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        scenes = [self.clips.scenes[row] for row in rows]
        dropped = self.text_dropout
        captions = [scene.caption() for scene in scenes] if rng is None else training_captions(rng, scenes, dropped)
        return MemoryBatch(self.clips.latents[rows], None, None, captions)

    def weight(self, rows: np.ndarray, timestep: Tensor) -> Float[Tensor, "b 1 t h w"] | None:
        return clip_weights(self.clips, rows, slice(0, self.clips.latents.shape[1]), timestep, self.object_weight)


@torch.no_grad()
def decode_memories(
    vae: AutoencoderKL, image_encoder: nn.Module, pool: ClipPool, seed: int, latent_noise: float, drift: float = 0.0
) -> tuple[UInt8[np.ndarray, "n f H W 3"], Float[Tensor, "n e"]]:
    """Condition frames and anchor embeddings of 32-frame clips, decoded as at inference, from noisy latents.

    `drift` is that of ToyMemoryParams, on the scale of -1..1.
    """
    conditions, anchors = [], []
    for i, half in enumerate(pool.latents):
        rng = rng_for(seed, "memory-pool", 0, i)
        clip = half.float()
        seen = torch.cat([clip[int(rng.integers(16))][None], clip[CONDITION]])
        noise = torch.from_numpy(rng.standard_normal(seen.shape, dtype=np.float32))
        noisy = (seen + rng.uniform(0, latent_noise) * noise) / vae.config.scaling_factor
        images = vae.decode(noisy.to(vae.device)).sample.float()
        images[1:] += _color_shift(rng, pool, i, images.shape[-1], drift).to(vae.device)
        conditions.append(to_uint8(images[1:]))
        anchors.append(embed_images(image_encoder, images[:1].clamp(-1, 1))[0].cpu())
    return np.stack(conditions), torch.stack(anchors)


def _color_shift(
    rng: np.random.Generator, pool: ClipPool, row: int, size: int, drift: float
) -> Float[Tensor, "f 3 H W"]:
    """The error added to the colours of a clip's condition frames: on the background half of that on the object."""
    shifts = torch.from_numpy(rng.standard_normal((2, 3, 1, 1), dtype=np.float32) * drift * (rng.random() < 0.5))
    numbers = pool.first[row] + np.arange(CONDITION.start, CONDITION.stop)
    covered = object_masks([pool.scenes[row]], numbers, size)[0, :, None]
    return covered * shifts[0] + (1 - covered) * shifts[1] / 2
