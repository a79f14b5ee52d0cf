"""Small pictures for pages, as inline SVG in the colour of the page.

One is a few hundred bytes and stands fifty times on a page; an SVG of matplotlib has about 10 kB.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup

from longtake.pipelines.evaluate.pages import render

WIDTH, HEIGHT = 140, 36  # units of the picture; a page may draw it wider


def histogram(values: Sequence[float], label: str, bins: int = 16) -> Markup:
    """Bars from the smallest to the largest value. All values must be finite, and there must be at least one."""
    low, high = min(values), max(values)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins)) if high > low else bins // 2] += 1
    wide, unit = WIDTH / bins, HEIGHT / max(counts)
    bars = [(i * wide, HEIGHT - unit * count, wide - 1, unit * count) for i, count in enumerate(counts) if count]
    return _picture(f"{label}, from {low:.3g} to {high:.3g}", bars=bars)


def curve(values: Sequence[float], label: str) -> Markup:
    """A line over the frames of a video, from the smallest to the largest value; empty if no value is finite."""
    finite = [(i, value) for i, value in enumerate(values) if math.isfinite(value)]
    if not finite:
        return Markup()
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    tall, wide = (high - low) or 1.0, max(1, len(values) - 1)
    points = [(i / wide * WIDTH, HEIGHT - 2 - (value - low) / tall * (HEIGHT - 4)) for i, value in finite]
    return _picture(f"{label} over the video, from {low:.3g} to {high:.3g}", points=points)


def _picture(
    label: str, bars: Sequence[tuple[float, float, float, float]] = (), points: Sequence[tuple[float, float]] = ()
) -> Markup:
    return Markup(render("picture.svg.j2", label=label, bars=bars, points=points, width=WIDTH, height=HEIGHT))
