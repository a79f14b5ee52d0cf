"""Clips of the moving-shapes world, encoded once. Shapes: n clips, t frames, c h w latent channels, rows, columns.

Encoding costs as much as a training step, so a stage draws its clips from a pool of latents.
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from longtake.models.diffusion.noise import rng_for
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import Scene, sample_scene

CLOSE = ("brown", "olive")  # the two backgrounds whose colours are nearest: a base model confuses them


@dataclass(frozen=True)
class ClipPool:
    """Clips: their scenes, first frames and latents."""

    scenes: list[Scene]
    first: np.ndarray  # (n,) number of each clip's first frame
    latents: Float[Tensor, "n t c h w"]  # float16

    def __len__(self) -> int:
        return len(self.scenes)


def pool_scenes(
    seed: int, purpose: str, clips: int, latest: int, spared: Set[str] = frozenset(), close_share: float = 0.0
) -> tuple[list[Scene], np.ndarray]:
    """The scenes of a pool, none with a caption among `spared`, and the frame where each clip begins (0..latest).

    `close_share` of the scenes are over one of CLOSE, beside those that are by chance: at .25 half of a pool is.
    """
    rng = rng_for(seed, purpose, 0, 0)
    scenes: list[Scene] = []
    while len(scenes) < clips:
        fixed: dict[str, str] = {}
        if close_share and rng.random() < close_share:  # at 0 nothing is drawn: the pools of earlier passes stay theirs
            fixed["background"] = CLOSE[int(rng.integers(len(CLOSE)))]
        scene = sample_scene(rng, **fixed)
        if scene.caption() not in spared:
            scenes.append(scene)
    return scenes, rng.integers(0, latest + 1, clips)


@torch.no_grad()
def encode_pool(
    vae: AutoencoderKL, scenes: list[Scene], first: np.ndarray, num_frames: int, size: int
) -> Float[Tensor, "n t c h w"]:
    """Latents of `num_frames` frames of each scene at `size` px, in float16."""
    latents = []
    per_call = max(1, 512 * 64**2 // size**2 // num_frames)  # frames in one call: bounds memory
    for i in range(0, len(scenes), per_call):
        numbers = first[i : i + per_call, None] + np.arange(num_frames)
        images = (render(scenes[i : i + per_call], numbers, size) * 2 - 1).to(vae.device)
        means = vae.encode(images.flatten(0, 1)).latent_dist.mode()
        latents.append((means.float().cpu() * vae.config.scaling_factor).unflatten(0, images.shape[:2]))
    return torch.cat(latents).half()
