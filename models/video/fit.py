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


def picture_size(source: Size, frame: Size, fit: Fit, multiple: int) -> Size:
    """The size that a refiner computes, whose sides must be multiples of `multiple`: the whole frame, or with contain
    the largest such picture inside it that is no longer on either side than the source's shape asks for."""
    if fit is not Fit.CONTAIN:
        return frame
    (h, w), (height, width) = source, frame
    taller = h * width > w * height
    inside = (height, _rounded(w * height, h)) if taller else (_rounded(h * width, w), width)
    rows, columns = (max(multiple, side // multiple * multiple) for side in inside)
    return rows, columns


def fit_note(source: Size, frame: Size, fit: Fit, multiple: int, setting: str = "refiner.fit") -> str | None:
    """What happens to frames of another shape, and the other values of `setting`; None for frames of the same shape."""
    picture = picture_size(source, frame, fit, multiple)
    if fit is Fit.STRETCH:
        if covering(source, frame) == frame:
            return None
        return f"{_said(source)} is stretched to {_said(frame)} ({setting}=cover cuts, contain adds bars)"
    cut = _cut(source, picture)
    if fit is Fit.COVER:
        return cut and f"{_said(source)} fills {_said(frame)}: {cut} ({setting}=contain adds bars, stretch distorts)"
    if picture == frame:
        return cut and f"{_said(source)} fills {_said(frame)}: {cut}"
    inside = f"{_said(source)} is refined at {_said(picture)}, with black bars around it up to {_said(frame)}"
    return f"{inside}{f'; {cut}' if cut else ''} ({setting}=cover cuts, stretch distorts)"


def _cut(source: Size, picture: Size) -> str | None:
    """The part of the source outside of the picture that it covers."""
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
