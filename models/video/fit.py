"""Frames of one shape in a frame of another. Sizes are (height, width) in pixels; no torch here.

    cover      scaled until the frame is full; what stands out is cut off, equally at both ends
    contain    scaled until one side is full; black bars fill the rest, and nothing is computed there
    stretch    scaled to the frame's height and width, distorted

All three are the same for frames of the frame's own shape.
"""

from enum import StrEnum

Size = tuple[int, int]  # height, width


class Fit(StrEnum):
    """The way into a frame of another shape."""

    COVER = "cover"
    CONTAIN = "contain"
    STRETCH = "stretch"


def covering(source: Size, frame: Size) -> Size:
    """The size of the scaled source that fills the frame: one side is the frame's, the other no shorter."""
    (h, w), (height, width) = source, frame
    if h * width > w * height:  # the source is taller
        return max(height, _rounded(h * width, w)), width
    return height, max(width, _rounded(w * height, h))


def contained(source: Size, frame: Size) -> Size:
    """The size of the scaled source that just fits into the frame: one side is the frame's, the other no longer."""
    (h, w), (height, width) = source, frame
    if h * width > w * height:  # the source is taller
        return height, min(width, _rounded(w * height, h))
    return min(height, _rounded(h * width, w)), width


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, at least 1."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))
