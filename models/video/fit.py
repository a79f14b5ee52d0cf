"""Frames of one shape in a frame of another. Sizes are (height, width) in pixels; no torch here.

    cover      scaled until the frame is full; what stands out is cut off, equally at both ends
    contain    scaled until one side is full; black bars fill the rest, and nothing is computed there
    stretch    scaled to the frame's height and width, distorted

All three are the same for frames of the frame's own shape.
"""

from collections.abc import Callable
from enum import StrEnum

Size = tuple[int, int]  # height, width
Within = Callable[[int, int], Size]


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


def inside(source: Size, frame: Size) -> Size:
    """The size of the scaled source within the frame: one side is the frame's, the other no longer."""
    (h, w), (height, width) = source, frame
    if h * width > w * height:  # the source is taller
        return height, _rounded(w * height, h)
    return _rounded(h * width, w), width


def picture_size(source: Size, frame: Size, fit: Fit, within: Within) -> Size:
    """The size that a refiner computes: the whole frame, or with contain the picture inside it.

    `within` gives the largest legal size that is not above a height and a width.
    """
    return within(*inside(source, frame)) if fit is Fit.CONTAIN else frame


def fit_note(source: Size, frame: Size, fit: Fit, within: Within, setting: str = "refiner.fit") -> str | None:
    """A line on frames of another shape, with the other values of `setting`; None for frames of the same shape."""
    picture = picture_size(source, frame, fit, within)
    if fit is Fit.STRETCH:
        if covering(source, frame) == frame:
            return None
        return f"{_said(source)} is stretched to {_said(frame)} ({setting}=cover cuts, contain adds bars)"
    cut = cut_note(source, picture)
    if fit is Fit.COVER:
        return cut and f"{_said(source)} fills {_said(frame)}: {cut} ({setting}=contain adds bars, stretch distorts)"
    if picture == frame:
        return cut and f"{_said(source)} fills {_said(frame)}: {cut}"
    said = f"{_said(source)} is refined at {_said(picture)}, with black bars around it up to {_said(frame)}"
    return f"{said}{f'; {cut}' if cut else ''} ({setting}=cover cuts, stretch distorts)"


def cut_note(source: Size, picture: Size) -> str | None:
    """A line on the part of the source outside of the picture that it covers."""
    scaled = covering(source, picture)
    for name, side, whole, kept in zip(("rows", "columns"), source, scaled, picture, strict=True):
        if whole > kept:
            return f"{side * (whole - kept) / whole:.3g} of its {side} {name} are cut off, half at each end"
    return None


def _said(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, at least 1."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))
