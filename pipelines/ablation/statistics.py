"""Statistics of an ablation: means, paired differences and claims, each with its 95 % bootstrap interval.

A difference is taken within a prompt and seed, which cancels the differences between prompts. Metrics that are ratios
by nature (MAWE, warp error) are compared as ratios, by the mean of their logarithms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from longtake.models.metrics.bootstrap import interval

ResultRow = dict[str, Any]
MIN_PAIRS = 6  # for a verdict: five are all on one side by chance more often than 1 time in 20 (2 / 2**5)


class Scale(StrEnum):
    """The scale on which a metric is compared and written."""

    PLAIN = "plain"
    RATIO = "ratio"
    SHARE = "share"  # a share of videos, in percent


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the rows: one metric."""

    name: str
    title: str
    better: str  # "lower", "higher" or "" for neither
    scale: Scale = Scale.PLAIN


_ATTRIBUTES = (("color", "colour"), ("background", "background"), ("motion", "direction"), ("shape", "shape"))
METRICS = {
    metric.name: metric
    for metric in (
        Metric("scuts", "scene cuts (SCuts)", "lower"),
        Metric("seam_ratio", "frame difference at borders, over elsewhere", "lower"),
        Metric("seam_flow", "jump of flow at borders, over elsewhere", "lower"),
        Metric("flow_std", "standard deviation of flow magnitude, px", "lower"),
        Metric("ofs", "mean flow (OFS), px", ""),
        Metric("stagnation", "share of still frames", "lower"),
        Metric("warp_error", "warp error", "lower", Scale.RATIO),
        Metric("mawe_v1", "MAWE, first paper", "lower", Scale.RATIO),
        Metric("mawe_cvpr", "MAWE, CVPR paper", "lower", Scale.RATIO),
        Metric("mawe_code", "MAWE, published code", "lower", Scale.RATIO),
        Metric("drift_color", "drift of colour", "lower"),
        Metric("drift_sharpness", "drift of sharpness", "lower"),
        Metric("drift_motion", "drift of motion", "lower"),
        Metric("drift_embedding", "drift of the image embedding", "lower"),
        Metric("temporal_flicker", "calm (VBench's flicker)", "higher"),
        Metric("clip_score", "CLIP score", "higher"),
        Metric("clip_anchor", "CLIP similarity to the first frame", "higher"),
        *(
            Metric(f"{name}_{end}", f"{title} right, {end}", "higher", Scale.SHARE)
            for end in ("start", "end")
            for name, title in (*_ATTRIBUTES, ("size", "size"))
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its interval over `count` videos; `left_out` had no finite value."""

    mean: float
    low: float
    high: float
    count: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A hypothesis: `metric` of `greater` is greater than that of `lesser`, prompt by prompt."""

    text: str
    source: str
    metric: str
    greater: str
    lesser: str


class Verdict(StrEnum):
    """The answer of a claim's interval."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "undecided"


def mean(rows: Iterable[ResultRow], metric: Metric, variant: str) -> Estimate | None:
    """The mean of a variant, geometric for a ratio; None if no video has a value."""
    values = [_value(row.get(metric.name), metric) for row in rows if row["variant"] == variant]
    return _estimate(values, metric)


def difference(rows: Sequence[ResultRow], metric: Metric, variant: str, reference: str) -> Estimate | None:
    """The paired difference to the reference, or the ratio for a ratio metric; None without pairs."""
    by = {(row["variant"], row["index"]): _value(row.get(metric.name), metric) for row in rows}
    pairs = [(by[variant, i], by[reference, i]) for name, i in by if name == variant and (reference, i) in by]
    return _estimate([None if a is None or b is None else a - b for a, b in pairs], metric)


def verdict(rows: Sequence[ResultRow], claim: Claim) -> tuple[Verdict, Estimate | None]:
    """HOLDS if the whole interval is on the claimed side, FAILS if it is on the other side, else OPEN."""
    metric = METRICS[claim.metric]
    estimate = difference(rows, metric, claim.greater, claim.lesser)
    if estimate is None or estimate.count < MIN_PAIRS:
        return Verdict.OPEN, estimate
    no_effect = 1.0 if metric.scale is Scale.RATIO else 0.0
    if estimate.low > no_effect:
        return Verdict.HOLDS, estimate
    return (Verdict.FAILS if estimate.high < no_effect else Verdict.OPEN), estimate


def _value(value: Any, metric: Metric) -> float | None:
    if value is None or not math.isfinite(value) or (metric.scale is Scale.RATIO and value <= 0):
        return None
    return math.log(value) if metric.scale is Scale.RATIO else float(value)


def _estimate(values: Sequence[float | None], metric: Metric) -> Estimate | None:
    finite = [value for value in values if value is not None]
    if not finite:
        return None
    bounds = interval(finite)
    middle, low, high = map(math.exp, bounds) if metric.scale is Scale.RATIO else bounds
    return Estimate(middle, low, high, len(finite), len(values) - len(finite))
