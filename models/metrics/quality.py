"""The quality gate of a bulk job: limits on a video while it is made, and the action when one is broken.

Every metric can only get worse as a video grows: cuts add up, the greatest drift stays the greatest, the stillest
chunk the stillest. So a video that breaks a limit after some chunk breaks it as a whole, and is stopped there.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from longtake.models.diffusion.noise import rng_for

NUM_RESEEDS = 3


class OnFailure(StrEnum):
    """The action on a video that breaks a limit."""

    FAIL = "fail"  # it is stopped, and fails with the reason
    FLAG = "flag"  # it is finished, and its row names the broken limit
    RESEED = "reseed"  # it is stopped and made again with another seed; after the last seed it fails


@dataclass(frozen=True, slots=True)
class QualityParams:
    """Limits on the low-resolution frames; None is no limit. A video within them is refined."""

    max_scuts: int | None = None  # scene cuts: see models/metrics/scuts.py
    min_motion: float | None = None  # mean difference of consecutive frames in the stillest chunk, 0-1
    max_drift: float | None = None  # distance of a chunk's colours from those of the first: see models/metrics/gate.py
    on_failure: OnFailure = OnFailure.FAIL
    max_reseeds: int = NUM_RESEEDS  # seeds that on_failure=reseed tries after the requested one

    def __post_init__(self) -> None:
        for name in ("max_scuts", "max_drift"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name}={value} must be at least 0")
        if self.min_motion is not None and not 0 <= self.min_motion <= 1:
            raise ValueError(f"min_motion={self.min_motion} must be between 0 and 1")
        if self.max_reseeds < 1:
            raise ValueError(f"max_reseeds={self.max_reseeds} must be at least 1")
        if self.on_failure is not OnFailure.FAIL and not self.has_limits:
            rule = "has no effect without a limit: set max_scuts, min_motion or max_drift"
            raise ValueError(f"on_failure={self.on_failure} {rule}")
        if self.max_reseeds != NUM_RESEEDS and self.on_failure is not OnFailure.RESEED:
            raise ValueError(f"max_reseeds={self.max_reseeds} has no effect without on_failure=reseed")

    @property
    def has_limits(self) -> bool:
        """Whether there is something to measure."""
        return any(limit is not None for limit in (self.max_scuts, self.min_motion, self.max_drift))


@dataclass(frozen=True, slots=True)
class GateFigures:
    """Metrics of the first `num_frames` low-resolution frames of a video."""

    num_frames: int
    scuts: int
    motion: float | None  # None: no two frames to compare
    drift: float

    def plain(self) -> dict[str, Any]:
        """Plain values, rounded to six digits, as in a manifest."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def verdict(params: QualityParams, figures: GateFigures) -> str | None:
    """The broken limit: the metric, its value and the rule. None if the video is within all limits so far."""
    rules = (
        ("scuts", figures.scuts, "max_scuts", params.max_scuts, 1),
        ("motion", figures.motion, "min_motion", params.min_motion, -1),
        ("drift", figures.drift, "max_drift", params.max_drift, 1),
    )
    for name, value, limit_name, limit, sign in rules:
        if value is not None and limit is not None and sign * value > sign * limit:
            rule = f"quality.{limit_name}={limit:g}"
            return f"{name}={value:.4g} in the first {figures.num_frames} frames breaks {rule}"
    return None


def seed_of(seed: int, attempt: int) -> int:
    """The seed of an attempt at a video with the requested `seed`, which attempt 0 has."""
    return int(rng_for(seed, "reseed", attempt, 0).integers(2**63)) if attempt else seed
