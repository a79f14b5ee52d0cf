"""Confidence intervals of means over videos."""

from collections.abc import Sequence

import numpy as np

from longtake.models.diffusion.noise import rng_for

Interval = tuple[float, float, float]  # a mean, and from where to where it may lie


def interval(values: Sequence[float], draws: int = 2000) -> Interval:
    """Mean and its 95 % bootstrap interval over videos. Raises ValueError without any value."""
    array = np.asarray(values, float)
    if not len(array):
        raise ValueError("values=[]: an interval needs at least one")
    rng = rng_for(0, "bootstrap", 0, 0)
    means = array[rng.integers(0, len(array), (draws, len(array)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(array.mean()), float(low), float(high)
