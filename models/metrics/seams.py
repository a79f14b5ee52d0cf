"""Seams: how much more a video changes where two pieces meet than inside them. 1 is invisible; lower is better."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8


def frame_differences(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, " t-1"]:
    """Mean absolute difference of consecutive frames, 0-1."""
    video = frames.astype(np.float32) / 255
    return np.asarray(np.abs(np.diff(video, axis=0)).mean((1, 2, 3)))


def seam_ratio(frames: UInt8[np.ndarray, "t h w c"], borders: Sequence[int]) -> float:
    """Mean difference into the frames `borders` over the mean difference elsewhere.

    Raises ValueError if no border lies inside the video, or nothing else does. A still video has no ratio: it is NaN.
    """
    differences = frame_differences(frames)
    inside = [border - 1 for border in borders if 0 < border < len(frames)]
    rest = np.delete(differences, inside)
    if not inside or not len(rest):
        raise ValueError(f"borders={list(borders)} leave nothing to compare in {len(frames)} frames")
    return float(differences[inside].mean() / rest.mean()) if rest.mean() > 0 else float("nan")
