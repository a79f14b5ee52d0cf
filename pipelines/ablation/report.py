"""Writes the results of an ablation: ablations.md (between its markers), ablations.jsonl and the charts."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from longtake.models.domain.plan import Plan
from longtake.models.video.sheet import draw_sheet, sheet_numbers
from longtake.pipelines.ablation.claims import CLAIMS, ORDERS
from longtake.pipelines.ablation.jobs import BEGIN, END, around
from longtake.pipelines.ablation.plots import differences, orders
from longtake.pipelines.ablation.settings import VARIANTS, AblateConf
from longtake.pipelines.ablation.statistics import (
    METRICS,
    MIN_PAIRS,
    Estimate,
    Metric,
    ResultRow,
    Scale,
    Verdict,
    difference,
    mean,
    verdict,
)
from longtake.pipelines.ablation.video_maker import Frames

TABLES = {
    "full": "Low resolution: memory and baselines",
    "symmetric": "Refinement",
    "noisy-symmetric": "Refinement from a higher level, with fresh noise at every step",
}
SHEETS = 2  # prompts whose frames are shown


def write(conf: AblateConf, rows: Sequence[ResultRow], out: Path, frames: Callable[[ResultRow], Frames]) -> None:
    """Writes everything into `out`; text outside the markers of the page is kept. `frames` loads a video."""
    out.mkdir(parents=True, exist_ok=True)
    page = out / "ablations.md"
    before, after = around(page)
    lines = ({key: value for key, value in row.items() if key != "curve"} for row in rows)
    (out / "ablations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    differences(rows).savefig(out / "ablations.png")
    order_charts = orders(rows, [segment.start for segment in Plan(conf.num_frames, conf.plan).segments[1:]])
    if order_charts is not None:
        order_charts.savefig(out / "ablations-order.png")
    _sheet(rows, frames).save(out / "ablations-frames.jpg", quality=88, subsampling=0)
    page.write_text(f"{before}{BEGIN}{body(conf, rows)}\n{END}{after}", "utf-8")


def _sheet(rows: Sequence[ResultRow], frames: Callable[[ResultRow], Frames]) -> Image.Image:
    sheets = []
    for index in sorted({row["index"] for row in rows})[:SHEETS]:
        videos = {row["variant"]: frames(row) for row in rows if row["index"] == index}
        numbers = sheet_numbers(min(map(len, videos.values())))
        shown = {name: video[numbers] for name, video in videos.items()}
        sheets.append(draw_sheet(numbers, shown, columns=len(numbers), tile_height=96))
    width = max(sheet.shape[1] for sheet in sheets)
    return Image.fromarray(np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in sheets]))


def body(conf: AblateConf, rows: Sequence[ResultRow]) -> str:
    """The generated part of the page."""
    count = len({row["index"] for row in rows})
    about = (
        f"{count} prompts of {conf.num_frames} frames, bundle `{conf.bundle}`, seeds from {conf.seed}; flow by "
        f"{rows[0]['flow']} at {conf.flow_size}x{conf.flow_size}."
    )
    variants = {row["variant"] for row in rows}
    paragraphs = [_order(rows, order) for order in ORDERS if set(order) <= variants]
    pictures = PICTURES if paragraphs else (PICTURES[0], PICTURES[2])
    tables = ["<details><summary>All means and differences</summary>", *_tables(rows), "</details>"]
    parts = [about, "## The claims", _claims(rows), *paragraphs, "## Metrics", ABOUT, *pictures, *tables]
    return "\n\n".join(parts)


def _claims(rows: Sequence[ResultRow]) -> str:
    variants = {row["variant"] for row in rows}
    lines = ["| claim | the paper | measured here | difference (95 %) | |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        if {claim.greater, claim.lesser} <= variants:
            metric = METRICS[claim.metric]
            answer, estimate = verdict(rows, claim)
            hypothesis = f"{metric.title}: {claim.greater} > {claim.lesser}"
            means = " against ".join(_cell(mean(rows, metric, v), metric, False) for v in (claim.greater, claim.lesser))
            strong = f"**{answer}**" if answer is not Verdict.OPEN else str(answer)
            lines.append(
                f"| {claim.text} | {claim.source} | {hypothesis}: {means} | {_change(estimate, metric)} | {strong} |"
            )
    return "\n".join(lines)


def _order(rows: Sequence[ResultRow], order: Sequence[str]) -> str:
    """A paragraph on one order of the paper's last ablation, beside the value of the low-resolution video."""
    metric, seams = METRICS["flow_std"], METRICS["seam_flow"]
    estimates = [mean(rows, metric, name) for name in order]
    low = mean(rows, metric, "full")
    steps = [difference(rows, metric, a, b) for a, b in pairwise(order)]
    ordered = all(a is not None and b is not None and a.mean > b.mean for a, b in pairwise(estimates))
    if ordered and all(step is not None and step.count >= MIN_PAIRS and step.low > 0 for step in steps):
        answer = "It holds: the intervals of both steps are above zero."
    elif ordered:
        answer = "The means are in this order, but the intervals of the steps are not both above zero."
    else:
        answer = "The means are not in this order."
    return (
        f"**The order {' > '.join(order)}** in the standard deviation of the flow magnitude: "
        f"{_listed(rows, metric, order)} px. {answer} The low-resolution video that all of them refine has "
        f"{_cell(low, metric)} px: the motion of the base model itself is in every row. "
        f"At window borders alone, the jump of flow over that elsewhere is: {_listed(rows, seams, order)}."
    )


def _listed(rows: Sequence[ResultRow], metric: Metric, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_cell(mean(rows, metric, name), metric)}" for name in names)


def _tables(rows: Sequence[ResultRow]) -> Iterator[str]:
    """A table of means and one of differences for each reference."""
    for reference, title in TABLES.items():
        names = [row["variant"] for row in rows if VARIANTS[row["variant"]].reference == reference]
        names = list(dict.fromkeys(names))
        if names:
            yield f"### {title}"
            yield "\n".join(f"- *{name}*: {VARIANTS[name].title}" for name in names)
            yield _table(rows, names, lambda name, metric: _cell(mean(rows, metric, name), metric))
            others = [name for name in names if name != reference]
            yield f"Differences to *{reference}*, prompt by prompt (warp error and MAWE as ratios):"
            yield _table(rows, others, partial(_against, rows, reference))


def _against(rows: Sequence[ResultRow], reference: str, name: str, metric: Metric) -> str:
    return _change(difference(rows, metric, name, reference), metric)


def _table(rows: Sequence[ResultRow], names: Sequence[str], cell: Callable[[str, Metric], str]) -> str:
    lines = ["| metric | better | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for metric in METRICS.values():
        if any(row.get(metric.name) is not None for row in rows if row["variant"] in names):
            lines.append(f"| {metric.title} | {metric.better} | " + " | ".join(cell(n, metric) for n in names) + " |")
    return "\n".join(lines)


def _cell(estimate: Estimate | None, metric: Metric, with_interval: bool = True) -> str:
    if estimate is None:
        return "-"
    factor, unit = (100, " %") if metric.scale is Scale.SHARE else (1, "")
    text = f"{_number(estimate.mean * factor)}{unit}"
    return (
        text
        + (f" ({_number(estimate.low * factor)} to {_number(estimate.high * factor)})" if with_interval else "")
        + _left(estimate)
    )


def _change(estimate: Estimate | None, metric: Metric) -> str:
    if estimate is None:
        return "-"
    factor = 100 if metric.scale is Scale.SHARE else 1
    sign = "" if metric.scale is Scale.RATIO else "+"
    numbers = [_number(value * factor, sign) for value in (estimate.mean, estimate.low, estimate.high)]
    return f"{'x' if metric.scale is Scale.RATIO else ''}{numbers[0]} ({numbers[1]} to {numbers[2]}){_left(estimate)}"


def _left(estimate: Estimate) -> str:
    return f" [{estimate.left_out} left out]" if estimate.left_out else ""


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3g}" if abs(value) < 1000 else f"{value:{sign}.0f}"


ABOUT = """In brackets: 95 % bootstrap intervals over prompts. A claim holds if the interval of its difference is on the
claimed side of zero (of one, for ratios), and fails if it is on the other side; fewer than 6 prompts decide nothing.
With so many claims at 95 %, chance may decide one.
*left out*: videos without a finite value, such as the MAWE of a still one."""
PICTURES = (
    "![Differences to the reference with their intervals; grey if undecided](ablations.png)",
    "![Flow over time and its standard deviation, refined in three ways](ablations-order.png)",
    "![Frames of the first prompts, a row per variant](ablations-frames.jpg)",
)
