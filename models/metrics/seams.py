"""Seams: the change of a video where two pieces meet, over the change inside them. 1 is invisible; lower is better.

Three measures, all ratios of means (`over_rest`): the change of the pixels (`seam_ratio`), of the motion (`seam_flow`),
and of lines and corners whatever their brightness (`seam_feature`, in place of LPIPS, which needs weights).
Shapes: t frames, h w rows and columns, c channels, n = t - 1 pairs of consecutive frames.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Features = list[Float[np.ndarray, "_ _"]]  # a picture for each scale, each of its own size
SCALES = (1, 2, 4)  # pixels of the frame per pixel of the analysed picture
SOFT = 0.02  # contrast (0-1) below which a place counts as empty: noise is not drawn


def over_rest(values: Float[np.ndarray, " n"], borders: Sequence[int]) -> float:
    """Mean of the values of the pairs into `borders` over the mean of the others.

    Raises ValueError if no border is inside the video, or nothing else is. If nothing changes elsewhere, the ratio is
    NaN if nothing changes at the borders either, else infinite.
    """
    inside = [border - 1 for border in borders if 0 < border <= len(values)]
    rest = np.delete(values, inside)
    if not inside or not len(rest):
        raise ValueError(f"borders={list(borders)} leave nothing to compare in {len(values) + 1} frames")
    at, elsewhere = float(values[inside].mean()), float(rest.mean())
    return at / elsewhere if elsewhere > 0 else float("nan" if at == 0 else "inf")


def flow_jumps(lengths: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The difference of each pair's motion (mean flow length, pixels) from the mean of its two neighbours."""
    before, after = np.append(lengths[:1], lengths[:-1]), np.append(lengths[1:], lengths[-1:])
    return np.asarray(np.abs(lengths - (before + after) / 2))


def feature_difference(before: Features, after: Features) -> float:
    """Mean absolute difference of the features of two frames, over three scales."""
    return float(np.mean([np.abs(b - a).mean() for a, b in zip(before, after, strict=True)]))


def features(frame: UInt8[np.ndarray, "h w c"]) -> Features:
    """A frame after local contrast normalisation, at three scales.

    Each value is a pixel's brightness minus that of its surroundings, divided by their contrast. This keeps lines and
    corners and removes the lighting.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    height, width = grey.shape
    sizes = [(max(1, width // scale), max(1, height // scale)) for scale in SCALES]
    return [_normalised(cv2.resize(grey, size, interpolation=cv2.INTER_AREA)) for size in sizes]


def _normalised(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    mean = cv2.GaussianBlur(grey, (7, 7), 7 / 6)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(grey * grey, (7, 7), 7 / 6) - mean * mean, 0))
    return np.asarray((grey - mean) / (spread + SOFT))
