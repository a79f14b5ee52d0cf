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

from models.frames import to_uint8
from models.nets.image import embed_images
from models.noise import rng_for
from models.render import object_masks
from models.training.captions import training_captions
from models.training.diffusion import clip_weights
from models.training.pool import Pool
from models.world import PALETTES, Scene, nearest_word

CLIP_FRAMES = 32
CONDITION = slice(16, 24)
TARGET = slice(16, 32)
SLIDE = {"color": 0.4, "background": 0.7}  # at most, of the way to the nearest word's colour


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

    `drift` is that of MemoryParams.
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
    """By how much the colours of a clip's condition frames are off, on the scale of -1..1.

    Half of the clips are as they were. A quarter is off at random, the object by twice as much as the background. A
    quarter slides towards the nearest words' colours: that is where videos go, and caption and anchor know better.
    """
    scene = pool.scenes[row]
    shifts = rng.standard_normal((2, 3), dtype=np.float32) * np.array([[drift], [drift / 2]], np.float32)
    draw = rng.random()
    if draw < 0.25 and drift:
        shifts = np.stack([_slid(rng, scene, name) for name in ("color", "background")])
    of_object, of_background = torch.from_numpy(shifts * (draw < 0.5))[:, :, None, None]
    numbers = pool.first[row] + np.arange(CONDITION.start, CONDITION.stop)
    covered = object_masks([scene], numbers, size)[0, :, None]
    off: Tensor = covered * of_object + (1 - covered) * of_background
    return off


def _slid(rng: np.random.Generator, scene: Scene, name: str) -> Float[np.ndarray, " 3"]:
    palette, field = PALETTES[name]
    way: Float[np.ndarray, " 3"] = np.subtract(
        palette[nearest_word(palette, getattr(scene, name))], getattr(scene, field)
    )
    return np.float32(2 * rng.uniform(0, SLIDE[name])) * way.astype(np.float32)
