"""The pictures of a comparison: differences with their intervals, the order of the refiner's variants, frames."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.pipelines.ablation.claims import ORDERS
from longtake.pipelines.ablation.settings import VARIANTS
from longtake.pipelines.ablation.statistics import FEWEST, FIGURES, Estimate, Row, Scale, difference, mean

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d")
SHOWN = ("scuts", "seam_ratio", "flow_std", "ofs", "mawe_cvpr", "drift_color", "clip_score", "clip_anchor", "color_end")
PANEL, LANE, LEFT, TOP = 400, 24, 110, 34  # pixels
INK, GREY, RULE = "#222222", "#777777", "#d5d5d5"


def differences(rows: Sequence[Row]) -> Image.Image:
    """A panel a figure: each variant's paired difference to its reference, a dot with its 95 % interval.

    Grey is what decides nothing: the interval holds zero (one, of ratios), or there are too few prompts.
    """
    names = [name for name in VARIANTS if any(row["variant"] == name for row in rows)]
    names = [name for name in names if VARIANTS[name].reference != name]
    figures = [FIGURES[name] for name in SHOWN if any(row.get(name) is not None for row in rows)]
    height, columns = TOP + LANE * len(names) + 40, 3
    lines = -(-len(figures) // columns)
    image = Image.new("RGB", (columns * PANEL, max(1, lines) * height), "white")
    for place, figure in enumerate(figures):
        found = [difference(rows, figure, name, VARIANTS[name].reference) for name in names]
        panel = Image.new("RGB", (PANEL, height), "white")
        title = f"{figure.title}{': times' if figure.scale is Scale.RATIO else ''}"
        _forest(ImageDraw.Draw(panel), title, names, found, 1.0 if figure.scale is Scale.RATIO else 0.0)
        image.paste(panel, (place % columns * PANEL, place // columns * height))
    return image


def _forest(
    draw: ImageDraw.ImageDraw, title: str, names: Sequence[str], found: Sequence[Estimate | None], nothing: float
) -> None:
    ends = [nothing, *(end for one in found if one for end in (one.low, one.high))]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 1.0
    scale = (PANEL - LEFT - 20) / (high - low + 2 * pad)

    def x(value: float) -> float:
        return LEFT + (value - low + pad) * scale

    bottom = TOP + LANE * len(names)
    draw.text((8, 8), title, INK, font=_font(13))
    draw.line((x(nothing), TOP - 4, x(nothing), bottom), RULE, 2)
    for place, (name, one) in enumerate(zip(names, found, strict=True)):
        y = TOP + LANE * place + LANE // 2
        draw.text((8, y - 7), name, INK, font=_font(12))
        if one is not None:
            sure = one.count >= FEWEST and (one.low > nothing or one.high < nothing)
            color = COLORS[0] if sure else "#a9a9a9"
            draw.line((x(one.low), y, x(one.high), y), color, 3)
            draw.ellipse((x(one.mean) - 4, y - 4, x(one.mean) + 4, y + 4), color)
    for value in sorted({low, nothing, high}):
        if value == nothing or abs(x(value) - x(nothing)) > 40:
            draw.text((x(value), bottom + 4), f"{value:.3g}", GREY, font=_font(11), anchor="ma")


def orders(rows: Sequence[Row], borders: Sequence[int]) -> Image.Image | None:
    """For each order of the paper that was made: flow over time, mean over videos, and flow_std with its interval."""
    there = {row["variant"] for row in rows}
    drawn = [_order(rows, borders, ("full", *names)) for names in ORDERS if set(names) <= there]
    return Image.fromarray(np.concatenate([np.asarray(one) for one in drawn])) if drawn else None


def _order(rows: Sequence[Row], borders: Sequence[int], names: Sequence[str]) -> Image.Image:
    width, height, right = 1200, 340, 820
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    curves = {name: _mean_curve(rows, name) for name in names}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    top = max((float(curve.max()) for curve in curves.values()), default=1.0) or 1.0
    count = max((len(curve) for curve in curves.values()), default=1)
    draw.text((8, 8), "mean flow magnitude by frame, px (dashed: window borders)", INK, font=_font(13))
    for border in borders:
        x = 50 + (border - 1) * (right - 90) / max(count - 1, 1)
        for y in range(40, height - 30, 8):
            draw.line((x, y, x, y + 3), RULE, 1)
    for place, (name, curve) in enumerate(curves.items()):
        points = [
            (50 + i * (right - 90) / max(count - 1, 1), height - 30 - value / top * (height - 80))
            for i, value in enumerate(curve)
        ]
        draw.line(points, COLORS[place], 2)
        draw.text((right - 20, 40 + 18 * place), name, COLORS[place], font=_font(12), anchor="ra")
    draw.text((44, height - 30), "0", GREY, font=_font(11), anchor="rs")
    draw.text((44, 50), f"{top:.3g}", GREY, font=_font(11), anchor="rm")
    found = [mean(rows, FIGURES["flow_std"], name) for name in names]
    panel = Image.new("RGB", (PANEL, height), "white")
    _forest(ImageDraw.Draw(panel), "flow_std, px", names, found, 0.0)
    image.paste(panel, (width - PANEL + 10, 0))
    return image


def _mean_curve(rows: Sequence[Row], variant: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    curves = [row["curve"] for row in rows if row["variant"] == variant]
    return np.mean(curves, axis=0) if curves else np.empty(0)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
