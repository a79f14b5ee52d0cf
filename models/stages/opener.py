"""The opening of a video: chunk 0 from another model, or from frames that exist; the base model continues from there.

Shapes: t frames, c channels, H W pixel rows and columns of the base model, H0 W0 those of the frames that are given.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Memory, Picture
from longtake.models.video.fit import Fit, Size
from longtake.models.video.frames import fit_frames, to_uint8

Frames = UInt8[np.ndarray, "t H0 W0 3"] | Float[Tensor, "t 3 H0 W0"]  # the latter in [-1, 1]


class Opener(Protocol):
    """A model that makes the first chunk. `open` is a pure function of its arguments."""

    @property
    def takes_picture(self) -> bool:
        """Whether a video can begin with a picture here."""
        ...

    def open(self, spec: PromptSpec, prompt: str, plan: Plan, picture: Picture | None = None, /) -> Frames:
        """The frames of chunk 0, of any size; those after the chunk's last one are not used."""
        ...


def fitted(frames: Frames, size: Size, fit: Fit) -> Float[Tensor, "t 3 H W"]:
    """Frames as images of `size` in [-1, 1].

    Images of this size stay as they are; others are rounded to pixels first, once for a whole video.
    """
    if isinstance(frames, Tensor):
        if tuple(frames.shape[-2:]) == size:
            return frames
        frames = to_uint8(frames)
    return fit_frames(frames, *size, fit)


def memory_from(frames: Frames, size: Size, fit: Fit, anchor_frame: int, condition_frames: int) -> Memory:
    """The memory after a clip, for a base model with frames of `size`. Raises ValueError for a clip that is too short.

    `anchor_frame` is the anchor's place in the clip; the last `condition_frames` are those that the next chunk repeats.
    """
    least = max(anchor_frame + 1, condition_frames)
    if len(frames) < least:
        raise ValueError(f"frames={len(frames)}: a video to be continued needs at least {least}")
    anchor = fitted(frames[anchor_frame : anchor_frame + 1], size, fit)[0]
    last = fitted(frames[len(frames) - condition_frames :], size, fit)
    return Memory(anchor.numpy(), last.numpy())
