"""Weights of the loss: the latents that the object covers count more.

Shapes: b clips, t frames, h w latent rows and columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from longtake.models.toy_world.clip_pool import ClipPool
from longtake.models.toy_world.render import object_masks
from longtake.models.toy_world.world import Scene

LOCATED = 850  # below this timestep, noisy latents show where the object is: a weight on it favours no other place


def object_weights(
    scenes: Sequence[Scene], frames: np.ndarray, timestep: Int[Tensor, " b"], size: int, weight: float
) -> Float[Tensor, "b 1 t {size} {size}"]:
    """`weight` on the latents that the object covers, 1 on the others: small objects are 5 % of a frame."""
    cover = torch.nn.functional.avg_pool2d(object_masks(scenes, frames, 4 * size), 4)
    located = (timestep < LOCATED).float()[:, None, None, None]
    return (1 + (weight - 1) * located * cover)[:, None]


def clip_weights(
    pool: ClipPool, rows: np.ndarray, frames: slice, timestep: Int[Tensor, " b"], weight: float
) -> Float[Tensor, "b 1 t h w"] | None:
    """`object_weights` of these frames of clips of a pool; None if `weight` is 1, which weights nothing."""
    if weight == 1:
        return None
    numbers = pool.first[rows, None] + np.arange(frames.start, frames.stop)
    return object_weights([pool.scenes[row] for row in rows], numbers, timestep, pool.latents.shape[-1], weight)
