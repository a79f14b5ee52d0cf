"""What the rows of a comparison say: means, paired differences and claims, each with its 95 % bootstrap interval.

A difference is taken within a prompt and seed, so what prompts differ in falls out. Figures that are ratios by nature
(MAWE, warp error) are compared as ratios: the mean of their logarithms.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from longtake.models.metrics.bootstrap import interval

Row = Mapping[str, Any]
FEWEST = 6  # pairs that decide a claim: of five, all lie on one side by chance more often than 1 time in 20 (2 / 2**5)


class Scale(StrEnum):
    """How a figure is compared and written."""

    PLAIN = "plain"
    RATIO = "ratio"
    SHARE = "share"  # a share of videos, in percent


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of the rows."""

    name: str
    title: str
    better: str  # "lower", "higher" or "" where neither is
    scale: Scale = Scale.PLAIN


_ATTRIBUTES = (("color", "colour"), ("background", "background"), ("motion", "direction"), ("shape", "shape"))
FIGURES = {
    figure.name: figure
    for figure in (
        Figure("scuts", "scene cuts (SCuts)", "lower"),
        Figure("seam_ratio", "frame difference at borders, over elsewhere", "lower"),
        Figure("seam_flow", "jump of flow at borders, over elsewhere", "lower"),
        Figure("flow_std", "standard deviation of flow magnitude, px", "lower"),
        Figure("ofs", "mean flow (OFS), px", ""),
        Figure("stagnation", "share of still frames", "lower"),
        Figure("warp_error", "warp error", "lower", Scale.RATIO),
        Figure("mawe_v1", "MAWE, first paper", "lower", Scale.RATIO),
        Figure("mawe_cvpr", "MAWE, CVPR paper", "lower", Scale.RATIO),
        Figure("mawe_code", "MAWE, published code", "lower", Scale.RATIO),
        Figure("drift_color", "drift of colour", "lower"),
        Figure("drift_sharpness", "drift of sharpness", "lower"),
        Figure("drift_motion", "drift of motion", "lower"),
        Figure("drift_embedding", "drift of the image embedding", "lower"),
        Figure("temporal_flicker", "calm (VBench's flicker)", "higher"),
        Figure("clip_score", "CLIP score", "higher"),
        Figure("clip_anchor", "CLIP similarity to the first frame", "higher"),
        *(
            Figure(f"{name}_{end}", f"{title} right, {end}", "higher", Scale.SHARE)
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
    """A hypothesis: `figure` of `greater` is greater than that of `lesser`, prompt by prompt."""

    text: str
    source: str
    figure: str
    greater: str
    lesser: str


class Verdict(StrEnum):
    """What the interval of a claim's difference says."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "cannot be told"


def mean(rows: Iterable[Row], figure: Figure, variant: str) -> Estimate | None:
    """A variant's mean (of a ratio figure the geometric one); None if no video has a value."""
    values = [_value(row.get(figure.name), figure) for row in rows if row["variant"] == variant]
    return _estimate(values, figure)


def difference(rows: Sequence[Row], figure: Figure, variant: str, reference: str) -> Estimate | None:
    """How much greater the figure is than the reference's (of a ratio figure, how many times)."""
    by = {(row["variant"], row["index"]): _value(row.get(figure.name), figure) for row in rows}
    pairs = [(by[variant, i], by[reference, i]) for name, i in by if name == variant and (reference, i) in by]
    return _estimate([None if a is None or b is None else a - b for a, b in pairs], figure)


def verdict(rows: Sequence[Row], claim: Claim) -> tuple[Verdict, Estimate | None]:
    """A claim holds if the whole interval is on its side, fails if it is on the other, and is open in between."""
    figure = FIGURES[claim.figure]
    found = difference(rows, figure, claim.greater, claim.lesser)
    if found is None or found.count < FEWEST:
        return Verdict.OPEN, found
    nothing = 1.0 if figure.scale is Scale.RATIO else 0.0
    if found.low > nothing:
        return Verdict.HOLDS, found
    return (Verdict.FAILS if found.high < nothing else Verdict.OPEN), found


def _value(value: Any, figure: Figure) -> float | None:
    if value is None or not math.isfinite(value) or (figure.scale is Scale.RATIO and value <= 0):
        return None
    return math.log(value) if figure.scale is Scale.RATIO else float(value)


def _estimate(values: Sequence[float | None], figure: Figure) -> Estimate | None:
    finite = [value for value in values if value is not None]
    if not finite:
        return None
    found = interval(finite)
    middle, low, high = map(math.exp, found) if figure.scale is Scale.RATIO else found
    return Estimate(middle, low, high, len(finite), len(values) - len(finite))
