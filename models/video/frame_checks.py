"""Frames that cannot be shown, whatever was asked for, end their video. `check_finite` is in frames.py.

Shapes: t frames, h w rows and columns, c channels.
"""

import numpy as np
from jaxtyping import UInt8

BLACK = 8  # of 255: a frame none of whose values is above it has nothing to show


class BadFrames(ValueError):
    """What a network made is nothing that can be shown. With another seed it may be."""


def check_not_black(frames: UInt8[np.ndarray, "t h w c"], start: int) -> None:
    """Raises BadFrames if one of the frames from `start` on is black."""
    for number, frame in enumerate(frames, start):
        if frame.max() <= BLACK:
            raise BadFrames(f"frames: frame {number} is black, none of its values is above {BLACK} of 255")
