"""Charts of a comparison: paired differences with their intervals, and flow over time for the refiner's variants."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from longtake.pipelines.ablation.claims import ORDERS
from longtake.pipelines.ablation.settings import VARIANTS
from longtake.pipelines.ablation.statistics import METRICS, MIN_PAIRS, Estimate, ResultRow, Scale, difference, mean

if TYPE_CHECKING:  # matplotlib takes .5 s to import, and is needed at the end of an ablation only
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = ("scuts", "seam_ratio", "flow_std", "ofs", "mawe_cvpr", "drift_color", "clip_score", "clip_anchor", "color_end")
COLUMNS = 3
DECIDED, UNDECIDED, RULE = "#4c78a8", "#a9a9a9", "#d5d5d5"


def differences(rows: Sequence[ResultRow]) -> "Figure":
    """One chart per metric: each variant's paired difference to its reference, a dot with its 95 % interval.

    A grey dot decides nothing: the interval holds zero (one, of ratios), or there are too few prompts.
    """
    names = [name for name in VARIANTS if any(row["variant"] == name for row in rows)]
    names = [name for name in names if VARIANTS[name].reference != name]
    metrics = [METRICS[name] for name in SHOWN if any(row.get(name) is not None for row in rows)]
    lines = max(1, ceil(len(metrics) / COLUMNS))
    figure = _figure(height=lines * (0.9 + 0.24 * len(names)))
    charts = list(figure.subplots(lines, COLUMNS, sharey=True, squeeze=False).flat)
    for chart, metric in zip(charts, metrics, strict=False):
        ratio = metric.scale is Scale.RATIO
        estimates = [difference(rows, metric, name, VARIANTS[name].reference) for name in names]
        _draw_estimates(chart, names, estimates, no_effect=1.0 if ratio else 0.0)
        chart.set_title(f"{metric.title}{': times' if ratio else ''}", loc="left", fontsize=9)
    for chart in charts[len(metrics) :]:
        chart.set_axis_off()
    return figure


def orders(rows: Sequence[ResultRow], borders: Sequence[int]) -> "Figure | None":
    """For each order of the paper whose variants are there: mean flow over time, and `flow_std` with its interval."""
    variants = {row["variant"] for row in rows}
    present = [("full", *names) for names in ORDERS if set(names) <= variants]
    if not present:
        return None
    figure = _figure(height=3.4 * len(present))
    charts = figure.subplots(len(present), 2, squeeze=False, width_ratios=(2, 1))
    for names, (over_time, spread) in zip(present, charts, strict=True):
        _draw_flow(over_time, rows, names, borders)
        estimates = [mean(rows, METRICS["flow_std"], name) for name in names]
        _draw_estimates(spread, names, estimates, no_effect=0.0)
        spread.set_title("flow_std, px", loc="left", fontsize=9)
    return figure


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, height), dpi=100)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    return figure


def _draw_estimates(
    chart: "Axes", names: Sequence[str], estimates: Sequence[Estimate | None], no_effect: float
) -> None:
    """A lane per name, from top to bottom."""
    chart.axvline(no_effect, color=RULE, linewidth=2, zorder=0)
    for lane, estimate in enumerate(estimates):
        if estimate is not None:
            decided = estimate.count >= MIN_PAIRS and (estimate.low > no_effect or estimate.high < no_effect)
            color = DECIDED if decided else UNDECIDED
            chart.plot([estimate.low, estimate.high], [lane, lane], color=color, linewidth=2.5, solid_capstyle="butt")
            chart.plot([estimate.mean], [lane], color=color, marker="o", markersize=6)
    chart.set_yticks(range(len(names)), names)
    chart.set_ylim(len(names) - 0.5, -0.5)
    chart.locator_params(axis="x", nbins=5)
    _plain(chart)
    chart.tick_params(axis="y", length=0)
    chart.spines["left"].set_visible(False)


def _draw_flow(chart: "Axes", rows: Sequence[ResultRow], names: Sequence[str], borders: Sequence[int]) -> None:
    for border in borders:
        chart.axvline(border, color=RULE, linestyle="--", linewidth=1, zorder=0)
    for name in names:
        curves = [row["curve"] for row in rows if row["variant"] == name]
        if curves:
            curve = np.mean(curves, axis=0)
            chart.plot(range(1, len(curve) + 1), curve, label=name)  # the first value leads from frame 0 to frame 1
    chart.set_ylim(bottom=0)
    chart.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    chart.set_title("mean flow magnitude by frame, px (dashed: window borders)", loc="left", fontsize=9)
    _plain(chart)


def _plain(chart: "Axes") -> None:
    chart.spines[["top", "right"]].set_visible(False)
    chart.tick_params(labelsize=8)
