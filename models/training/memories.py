"""What CAM and APM learn from: clips, and what the model will have seen before them (models/training/memory.py).

Shapes: b n clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns,
e embedding.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.image import embed_images
from longtake.models.toy_world.clip_pool import Pool
from longtake.models.toy_world.render import object_masks
from longtake.models.training.captions import training_captions
from longtake.models.training.diffusion import clip_weights
from longtake.models.video.frames import to_uint8

CLIP_FRAMES = 32
CONDITION = slice(16, 24)
TARGET = slice(16, 32)


@dataclass(frozen=True)
class MemoryBatch:
    """Clips: the target's latents, what the model will have seen before, and what is asked."""

    latents: Float[Tensor, "b t c h w"]
    condition: UInt8[np.ndarray, "b f H W 3"] | None  # decoded frames, as at inference; None: CAM is not asked
    anchor: Float[Tensor, "b e"]  # image embedding
    captions: list[str]


class Memories(Protocol):
    """Clips to learn from, by their row."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        """The clips of these rows; with `rng`, words of the captions may be left out."""
        ...

    def weight(self, rows: np.ndarray, timestep: Tensor, weight: float) -> Float[Tensor, "b 1 t h w"] | None:
        """How much each latent counts if the object's count `weight`; None where they count alike."""
        ...


@dataclass(frozen=True)
class MemoryPool:
    """Clips of the moving-shapes world."""

    clips: Pool  # latents of the target frames
    condition: UInt8[np.ndarray, "n f H W 3"]
    anchor: Float[Tensor, "n e"]

    def __len__(self) -> int:
        return len(self.clips)

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        scenes = [self.clips.scenes[row] for row in rows]
        captions = [scene.caption() for scene in scenes] if rng is None else training_captions(rng, scenes, 0.0)
        return MemoryBatch(self.clips.latents[rows], self.condition[rows], self.anchor[rows], captions)

    def weight(self, rows: np.ndarray, timestep: Tensor, weight: float) -> Float[Tensor, "b 1 t h w"] | None:
        return clip_weights(self.clips, rows, TARGET, timestep, weight)


@torch.no_grad()
def decode_memories(
    vae: AutoencoderKL, image_encoder: nn.Module, pool: Pool, seed: int, latent_noise: float, drift: float = 0.0
) -> tuple[UInt8[np.ndarray, "n f H W 3"], Float[Tensor, "n e"]]:
    """Condition frames and anchor embeddings of 32-frame clips, decoded as at inference, from noisy latents.

    `drift` is that of MemoryParams, on the scale of -1..1.
    """
    conditions, anchors = [], []
    for i, half in enumerate(pool.latents):
        rng = rng_for(seed, "memory-pool", 0, i)
        clip = half.float()
        seen = torch.cat([clip[int(rng.integers(16))][None], clip[CONDITION]])
        noise = torch.from_numpy(rng.standard_normal(seen.shape, dtype=np.float32))
        noisy = (seen + rng.uniform(0, latent_noise) * noise) / vae.config.scaling_factor
        images = vae.decode(noisy.to(vae.device)).sample.float()
        images[1:] += _drifted(rng, pool, i, images.shape[-1], drift).to(vae.device)
        conditions.append(to_uint8(images[1:]))
        anchors.append(embed_images(image_encoder, images[:1].clamp(-1, 1))[0].cpu())
    return np.stack(conditions), torch.stack(anchors)


def _drifted(rng: np.random.Generator, pool: Pool, row: int, size: int, drift: float) -> Float[Tensor, "f 3 H W"]:
    """By how much the colours of a clip's condition frames are off: the object's by more than the background's."""
    shifts = rng.standard_normal((2, 3, 1, 1), dtype=np.float32) * drift * (rng.random() < 0.5)
    there = torch.from_numpy(shifts)
    numbers = pool.first[row] + np.arange(CONDITION.start, CONDITION.stop)
    covered = object_masks([pool.scenes[row]], numbers, size)[0, :, None]
    return covered * there[0] + (1 - covered) * there[1] / 2
