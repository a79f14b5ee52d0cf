"""Black bars of `refiner.fit=contain` in the frames of a file, where they would count as a still part of the picture.

Shapes: h w rows and columns, c channels, n rows or columns.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, UInt8

from longtake.models.video.frame_checks import BLACK

Frame = UInt8[np.ndarray, "h w c"]


def without_bars(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Every frame without the bars of the first one: black rows, or columns, as many at either end.

    A picture that is black along both of these sides loses that too, in every frame alike.
    """
    inside: tuple[slice, slice] | None = None
    for frame in frames:
        if inside is None:
            seen = frame.max(-1) > 2 * BLACK  # twice: compression lets a picture shine into its bars
            inside = _between(seen.any(1)), _between(seen.any(0))
        yield frame[inside]


def _between(seen: Bool[np.ndarray, " n"]) -> slice:
    """The places between two equally long ends where nothing is seen; all of them if nothing is seen at all."""
    places = np.flatnonzero(seen)
    width = int(min(places[0], len(seen) - 1 - places[-1])) if len(places) else 0
    return slice(width, len(seen) - width)
