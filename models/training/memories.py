"""Training data of CAM and APM: clips, and the frames that precede them (models/training/memory.py).

Shapes: b clips, t frames, f condition frames, c channels, h w latent rows and columns, H W pixel rows and columns,
e embedding.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

CLIP_FRAMES = 32
CONDITION = slice(16, 24)
TARGET = slice(16, 32)


@dataclass(frozen=True)
class MemoryBatch:
    """Clips: the target's latents, the memory at inference, and the captions."""

    latents: Float[Tensor, "b t c h w"]
    condition: UInt8[np.ndarray, "b f H W 3"] | None  # decoded frames, as at inference; None: without CAM
    anchor: Float[Tensor, "b e"] | None  # image embedding; None: without APM, at the beginning of a video
    captions: list[str]


class Memories(Protocol):
    """Clips by their row."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        """The clips of these rows; with `rng`, words of the captions may be left out."""
        ...

    def weight(self, rows: np.ndarray, timestep: Tensor) -> Float[Tensor, "b 1 t h w"] | None:
        """Weight of each latent in the loss; None weights all alike."""
        ...
