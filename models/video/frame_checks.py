"""Checks of frames: a video that has frames without a picture ends. `check_finite` is in frames.py.

Shapes: t frames, h w rows and columns, c channels.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.state import Chunk, Segment

BLACK = 8  # of 255: a frame with no value above it counts as black


class BadFrames(ValueError):
    """Frames without a picture: black, or not finite. Another seed may help."""


def check_not_black(frames: UInt8[np.ndarray, "t h w c"], start: int) -> None:
    """Raises BadFrames if one of the frames from `start` on is black."""
    for number, frame in enumerate(frames, start):
        if frame.max() <= BLACK:
            raise BadFrames(f"frames: frame {number} is black, none of its values is above {BLACK} of 255")


def refuse_black(output: Any) -> None:
    """Raises BadFrames if the output of a stage has a black frame: before anything else works on it."""
    if isinstance(output, Chunk | Segment):
        check_not_black(output.frames, output.span.start)
