"""The change of a video from frame to frame: flicker, stagnation, unevenness of motion.

Shapes: t frames, h w rows and columns, c channels, n = t - 1 pairs of consecutive frames.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

STILL = 0.5 / 255  # mean difference below which a frame "hardly differs": half a grey level, as encoding alone causes


def frame_difference(before: UInt8[np.ndarray, "h w c"], after: UInt8[np.ndarray, "h w c"]) -> float:
    """Mean absolute difference of two frames, 0-1."""
    return float(np.abs(after.astype(np.int16) - before).mean() / 255)


def frame_differences(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, " t-1"]:
    """`frame_difference` of consecutive frames."""
    return np.array([frame_difference(before, after) for before, after in pairwise(frames)])


def temporal_flicker(differences: Float[np.ndarray, " n"]) -> float:
    """1 - mean difference, 0-1, higher is calmer: VBench's temporal flickering (arXiv 2311.17982, section 4.1).

    VBench measures videos of still scenes only; elsewhere motion counts as flicker.
    """
    return float(1 - np.mean(differences))


def stagnation(differences: Float[np.ndarray, " n"]) -> float:
    """Share of frames that hardly differ from the one before, 0-1. Lower is livelier; a still video has 1."""
    return float(np.mean(differences < STILL))


def flow_std(lengths: Float[np.ndarray, " n"]) -> float:
    """Standard deviation over time of the flow's mean length, pixels (StreamingT2V, section 5.4). Lower is smoother."""
    return float(np.std(lengths))
