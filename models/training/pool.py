"""Clips of the moving-shapes world, encoded once. Shapes: n clips, t frames, c h w latent channels, rows, columns.

Encoding costs as much as a training step, so a stage draws its clips from a pool of latents.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from models.noise import rng_for
from models.render import render
from models.world import Scene, sample_scene


@dataclass(frozen=True)
class Pool:
    """Clips: what they show, from which frame on, and their latents."""

    scenes: list[Scene]
    first: np.ndarray  # (n,) number of each clip's first frame
    latents: Float[Tensor, "n t c h w"]  # float16

    def __len__(self) -> int:
        return len(self.scenes)


@torch.no_grad()
def build_pool(
    vae: AutoencoderKL, seed: int, purpose: str, clips: int, num_frames: int, size: int, latest: int = 0
) -> Pool:
    """`clips` random scenes of `num_frames` frames at `size` px, each beginning at a random frame in 0..latest."""
    rng = rng_for(seed, purpose, 0, 0)
    scenes = [sample_scene(rng) for _ in range(clips)]
    first = rng.integers(0, latest + 1, clips)
    latents = []
    per_call = max(1, 512 * 64**2 // size**2 // num_frames)  # frames in one call: bounds memory
    for i in range(0, clips, per_call):
        numbers = first[i : i + per_call, None] + np.arange(num_frames)
        images = render(scenes[i : i + per_call], numbers, size) * 2 - 1
        means = vae.encode(images.flatten(0, 1)).latent_dist.mode()
        latents.append((means * vae.config.scaling_factor).to(torch.float16).unflatten(0, images.shape[:2]))
    return Pool(scenes, first, torch.cat(latents))
