"""A decoded frame as a picture.

Shapes: h w rows and columns, c = 3 channels (red, green, blue).
"""

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from longtake.models.video.yuv import yuv_to_rgb


def picture(
    frame: VideoFrame, pixel_aspect: Fraction | None, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """The frame as RGB with square pixels, upright; scaled to `size` (width, height) if given."""
    width, height = frame.width, frame.height
    if pixel_aspect and pixel_aspect > 0:
        # One side grows and the other stays, as browsers do it: nothing is lost.
        width, height = round(width * max(pixel_aspect, Fraction(1))), round(height / min(pixel_aspect, Fraction(1)))
    if size:
        width, height = size if round(frame.rotation / 90) % 2 == 0 else size[::-1]
    return yuv_to_rgb(frame, width, height)
