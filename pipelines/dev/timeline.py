"""Timeline of a run: the receipts of its tasks as a list, and as a chart with a lane per actor.

base 1      | 0 || 1 || 2 |   | 3 || 4 |          chunks, by their index
refiner 1               | 0 || 0 |    | 1 |       steps of windows, by the window's index; a colour per video
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName
from longtake.pipelines.runners.ray_runner import POOLS, RayRunner, SegmentFinal, TaskDone, VideoFailed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d")
CHART_PIXELS = 980  # about: the width of a chart without its labels


@dataclass(frozen=True, slots=True)
class TimedTask:
    """One task, its actor, and its times in seconds since the first task began."""

    stage: str
    actor: str  # base 1, refiner 1, ... in the order of their first tasks
    video: str
    index: int  # of the chunk or the window
    began_s: float
    ended_s: float
    overhead_s: float  # time from call to answer beyond the stage's own


def timed_tasks(runner: RayRunner, specs: Sequence[PromptSpec], in_order: bool = False) -> list[TimedTask]:
    """Makes the videos and returns their tasks; with `in_order`, refinement starts after the last chunk of all videos.

    Raises RuntimeError with the reason if one fails.
    """
    plans = {spec.video_id: runner.submit(spec) for spec in specs}
    chunks, segments = sum(len(plan.chunks) for plan in plans.values()), sum(len(p.segments) for p in plans.values())
    done: list[TaskDone] = []
    while segments:
        generated = sum(event.task.stage is StageName.GENERATE for event in done)
        stages: Collection[StageName] = (StageName.GENERATE,) if in_order and generated < chunks else tuple(StageName)
        runner.hand_out(stages)
        for event in runner.events():
            segments -= isinstance(event, SegmentFinal)
            done += [event] if isinstance(event, TaskDone) else []
            if isinstance(event, VideoFailed):
                raise RuntimeError(event.reason)
    for spec in specs:
        runner.cancel(spec.video_id)
    return _timed(sorted(done, key=lambda event: event.receipt.began_s))


def _timed(done: Sequence[TaskDone]) -> list[TimedTask]:
    workers: dict[StageName, dict[str, int]] = {stage: {} for stage in StageName}
    start_s = done[0].receipt.began_s
    found = []
    for event in done:
        task, receipt = event.task, event.receipt
        number = workers[task.stage].setdefault(receipt.worker, len(workers[task.stage]) + 1)
        timed = TimedTask(
            stage=task.stage.value,
            actor=f"{POOLS[task.stage]} {number}",
            video=task.video_id,
            index=task.index,
            began_s=round(receipt.began_s - start_s, 4),
            ended_s=round(receipt.ended_s - start_s, 4),
            overhead_s=round(event.seconds - receipt.seconds, 6),
        )
        found.append(timed)
    return found


def draw_timeline(runs: Mapping[str, Sequence[TimedTask]]) -> "Figure":
    """One chart per run under its name, all on the same time axis. Raises ValueError for a run without tasks."""
    from matplotlib.figure import Figure

    if not runs or not all(runs.values()):
        raise ValueError(f"runs {list(runs)}: each needs at least one task")
    lanes = [sorted({task.actor for task in tasks}) for tasks in runs.values()]
    videos = list(dict.fromkeys(task.video for tasks in runs.values() for task in tasks))
    figure = Figure(figsize=(11, sum(0.45 + 0.33 * len(actors) for actors in lanes) + 0.3), dpi=100)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
    ratios = [len(actors) for actors in lanes]
    charts = figure.subplots(len(runs), sharex=True, squeeze=False, height_ratios=ratios).flat
    end_s = max(task.ended_s for tasks in runs.values() for task in tasks)
    for chart, (name, tasks), actors in zip(charts, runs.items(), lanes, strict=True):
        chart.set_title(f"{name}: {max(task.ended_s for task in tasks):.1f} s", loc="left", fontsize=10)
        _draw_tasks(chart, tasks, actors, videos, end_s)
    chart.tick_params(labelbottom=True)
    chart.xaxis.set_major_formatter("{x:g} s")
    return figure


def _draw_tasks(
    chart: "Axes", tasks: Sequence[TimedTask], actors: Sequence[str], videos: Sequence[str], end_s: float
) -> None:
    """A lane per actor, a colour per video, and the index in each box that has room for it."""
    for task in tasks:
        lane, width_s = actors.index(task.actor), task.ended_s - task.began_s
        color, pixels = COLORS[videos.index(task.video) % len(COLORS)], width_s / end_s * CHART_PIXELS
        # A white edge keeps neighbours apart; a box of a few pixels would be all edge.
        chart.barh(lane, width_s, 0.8, task.began_s, color=color, edgecolor="white", linewidth=min(0.8, pixels / 10))
        if pixels > 7 * len(str(task.index)) + 4:
            middle = task.began_s + width_s / 2
            chart.text(middle, lane, str(task.index), color="white", fontsize=9, ha="center", va="center")
    chart.set_xlim(0, end_s)
    chart.set_yticks(range(len(actors)), actors)
    chart.set_ylim(len(actors) - 0.5, -0.5)
    chart.grid(axis="x", color="#e4e4e4")
    chart.set_axisbelow(True)
    chart.spines[:].set_visible(False)
    chart.tick_params(length=0, labelsize=9, labelbottom=False)
