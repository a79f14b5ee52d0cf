"""Addressed randomness: a draw depends only on its address, never on process, time, machine or order.

An address is (seed, purpose, step, index), the index being a frame or a boundary. So two windows that hold the same
frame give it the same noise without communicating, and a task that is run again elsewhere draws the same numbers.
 NumPy's Philox counts in integers, on the CPU: devices and numbers of threads do not enter.
"""

import hashlib

import numpy as np
from jaxtyping import Float32

from longtake.models.domain.span import Span


def rng_for(seed: int, purpose: str, step: int, index: int) -> np.random.Generator:
    """The rng of one address; `step` and `index` (a frame, a boundary) are at least 0. Purposes are independent."""
    if step < 0 or index < 0:
        raise ValueError(f"step={step}, index={index}: both must be at least 0")
    key = np.frombuffer(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), "<u8")
    # Drawing counts up in the lowest word of the counter, so addresses, which differ in the upper two, never meet.
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, index, step]))


def noise_for(seed: int, purpose: str, step: int, span: Span, shape: tuple[int, ...]) -> Float32[np.ndarray, "t ..."]:
    """N(0,1) noise of `shape` for each frame of `span`: a frame has the same noise in every span that holds it."""
    frames = [rng_for(seed, purpose, step, f).standard_normal(shape, dtype=np.float32) for f in span]
    return np.stack(frames) if frames else np.empty((0, *shape), np.float32)


def cut_for(seed: int, boundary: int, step: int, overlap: int) -> int:
    """The number of overlap frames from the left window at this step: uniform in 0..overlap.

    `boundary` is the index of its left window. Overlap frame f = 1..O comes from there with probability 1 - f / (O + 1)
    (StreamingT2V, randomized blending).
    """
    return int(rng_for(seed, "cut", step, boundary).integers(overlap + 1))
