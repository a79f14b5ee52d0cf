"""Warp error and MAWE: changes beyond a video's own motion (StreamingT2V, section 5.2; `mawe.py` of its code).

MAWE weighs warp error against motion: lower is better, which is consistent *and* moving. It exists in three forms that
are never mixed. W_i is the warp error of pair i, OFS_i the mean length of its flow vectors:

    mawe_v1     mean(W_i) / (9.5 mean(OFS_i))            the paper's first version
    mawe_cvpr   mean(W_i) / mean(mean of squared lengths)   its CVPR version
    mawe_code   mean(W_i / (9.5 OFS_i))                  the published code

A video that does not move has OFS = 0: its MAWE is infinite, never NaN, never good. All at 720x720 in the paper.
Shapes: h w rows and columns, c channels, n pairs. Flow in pixels, W in squared grey levels (0..255²).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

C = 9.5  # the constant of the paper


@dataclass(frozen=True, slots=True)
class Warped:
    """A pair of frames, measured."""

    error: float  # W: squared grey levels, lower is better
    length: float  # OFS: mean length of the flow vectors, pixels
    squared_length: float  # mean squared length, pixels²


def warp_pair(
    left: UInt8[np.ndarray, "h w c"], right: UInt8[np.ndarray, "h w c"], flow: Float[np.ndarray, "h w 2"]
) -> Warped:
    """`flow` leads from `left` to `right`."""
    source = splat(flow)
    known = (source >= 0).astype(np.uint8)
    count = int(known.sum())
    warped = np.take(left.reshape(-1, left.shape[-1]), source, axis=0, mode="wrap")  # unknown pixels are masked
    total = cv2.norm(right, warped, cv2.NORM_L2SQR, known)
    squared = np.einsum("hwc,hwc->hw", flow, flow)
    length, squared_length = np.sqrt(squared).mean(dtype=np.float64), squared.mean(dtype=np.float64)
    error = total / (left.shape[-1] * count) if count else 0.0
    return Warped(float(error), float(length), float(squared_length))


def splat(flow: Float[np.ndarray, "h w 2"]) -> Int[np.ndarray, "h w"]:
    """For each pixel of the second frame: which pixel of the first (flat index) comes to it, -1 where none does.

    Forward, by the flow rounded half to even; of several the last in row-major order stays, as in the published code.
    Pixels that none reaches are unknown and left out: that is its whole treatment of occlusion.
    """
    height, width = flow.shape[:2]
    target = np.rint(flow).astype(np.int32)
    x = target[..., 0] + np.arange(width, dtype=np.int32)
    y = target[..., 1] + np.arange(height, dtype=np.int32)[:, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    source = np.full(height * width + 1, -1, np.int32)  # the last place is for those that leave
    # NumPy keeps the last of equal indices.
    source[np.where(inside, y * width + x, height * width).ravel()] = np.arange(height * width, dtype=np.int32)
    return source[:-1].reshape(height, width)


def mawe_v1(errors: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"]) -> float:
    """Of W_i and OFS_i."""
    return _ratio(float(np.mean(errors)), C * float(np.mean(lengths)))


def mawe_cvpr(errors: Float[np.ndarray, " n"], squared_lengths: Float[np.ndarray, " n"]) -> float:
    """Of W_i and the mean squared lengths."""
    return _ratio(float(np.mean(errors)), float(np.mean(squared_lengths)))


def mawe_code(errors: Float[np.ndarray, " n"], lengths: Float[np.ndarray, " n"]) -> float:
    """Of W_i and OFS_i, a ratio for each pair."""
    return float(np.mean([_ratio(float(w), C * float(ofs)) for w, ofs in zip(errors, lengths, strict=True)]))


def _ratio(error: float, motion: float) -> float:
    return error / motion if motion > 0 else float("inf")
