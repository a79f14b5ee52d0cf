"""Drift: the distance of the end of a video from its beginning. 0 is no drift; lower is better.

Each is the difference between a metric over the first 15 % of the frames and over the last 15 %: of colours (mean and
standard deviation of each channel), of sharpness, of the embedding of an image encoder, and of motion.
Shapes: t frames, h w rows and columns, c channels, n = t - 1 pairs, e embedding.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SHARE = 0.15  # of the video, at either end


def ends(values: Float[np.ndarray, "t k"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Means over the first and over the last 15 % of the values, one at least."""
    count = max(1, round(SHARE * len(values)))
    return values[:count].mean(0), values[len(values) - count :].mean(0)


def frame_colors(frame: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, " 6"]:
    """Mean and standard deviation of each channel, 0-1."""
    return np.asarray(np.concatenate(cv2.meanStdDev(frame)).ravel() / 255)


def frame_sharpness(frame: UInt8[np.ndarray, "h w c"]) -> float:
    """Mean absolute Laplacian of the grey values, 0-1: the amount of edges."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean() / 255)


def color_statistics(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t 6"]:
    """`frame_colors` of each frame."""
    return np.stack([frame_colors(frame) for frame in frames])


def sharpness(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, " t"]:
    """`frame_sharpness` of each frame."""
    return np.array([frame_sharpness(frame) for frame in frames], np.float32)


def drift(values: Float[np.ndarray, "t k"] | Float[np.ndarray, " t"]) -> float:
    """Distance between the means at both ends: the absolute difference of numbers, the Euclidean one of vectors."""
    first, last = ends(values.reshape(len(values), -1))
    return float(np.linalg.norm(last - first))


def drift_embedding(embeds: Float[np.ndarray, "t e"]) -> float:
    """1 - cosine of the mean embeddings at both ends, 0-2."""
    first, last = ends(embeds)
    return float(1 - first @ last / (np.linalg.norm(first) * np.linalg.norm(last)))
