"""What pages show: small pictures as inline SVG, which need no library and take the page's colour, and videos."""

import math
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

WIDTH, HEIGHT = 140, 36  # units of the picture; a page may draw it wider


def histogram(values: Sequence[float], label: str, bins: int = 16) -> str:
    """How often values occur, from the smallest to the largest. They have to be finite; there has to be one."""
    low, high = min(values), max(values)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins)) if high > low else bins // 2] += 1
    wide = WIDTH / bins
    bars = "".join(
        f'<rect x="{i * wide:.1f}" y="{HEIGHT - tall:.1f}" width="{wide - 1:.1f}" height="{tall:.1f}"/>'
        for i, count in enumerate(counts)
        if (tall := HEIGHT * count / max(counts)) > 0
    )
    return _svg(f'<g fill="currentColor">{bars}</g>', f"{label}, from {low:.3g} to {high:.3g}")


def curve(values: Sequence[float], label: str) -> str:
    """Values over the video, from the smallest to the largest; those that are not finite are left out."""
    known = [(i, value) for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    tall, wide = (high - low) or 1.0, max(1, len(values) - 1)
    points = " ".join(f"{i / wide * WIDTH:.1f},{HEIGHT - 2 - (v - low) / tall * (HEIGHT - 4):.1f}" for i, v in known)
    line = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.3"/>'
    return _svg(line, f"{label} over the video, from {low:.3g} to {high:.3g}")


def player(file: str, label: str) -> str:
    """A video that lies beside the page, and plays. Muted and inline: phones play one on their own only so."""
    attributes = "controls autoplay muted loop playsinline"
    return f'<video src="./{quote(file)}" aria-label="{escape(label)}" {attributes}></video>'


def _svg(inside: str, label: str) -> str:
    text = escape(label)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{text}"><title>{text}</title>'
        f"{inside}</svg>"
    )
