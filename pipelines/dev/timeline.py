"""Which actor did what when: the receipts of a run as a list, and as a picture with a lane an actor.

base 1      | 0 || 1 || 2 |   | 3 || 4 |          chunks, by their number
refiner 1               | 0 || 0 |    | 1 |       calls of windows, by the window's number; a colour a video
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import Stage
from longtake.pipelines.runners.ray_runner import POOLS, RayRunner, SegmentFinal, TaskDone, VideoFailed

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d")
INK, FAINT = "#222222", "#e4e4e4"
LEFT, RIGHT, TITLE, LANE, AXIS = 92, 24, 30, 32, 26  # pixels: before and after the lanes, heights


@dataclass(frozen=True, slots=True)
class Work:
    """One task: what it was, who had it, when (seconds since the first began), and what the way there and back took."""

    stage: str
    actor: str  # base 1, refiner 1, ... in the order in which they began
    video: str
    index: int  # of the chunk or the window
    began_s: float
    ended_s: float
    overhead_s: float


def works(runner: RayRunner, specs: Sequence[PromptSpec], in_order: bool = False) -> list[Work]:
    """Makes the videos, and says how; with `in_order` no window is refined before the last chunk of all is there.

    Raises RuntimeError with the reason when one fails.
    """
    plans = {spec.video_id: runner.submit(spec) for spec in specs}
    chunks, segments = sum(len(plan.chunks) for plan in plans.values()), sum(len(p.segments) for p in plans.values())
    done: list[TaskDone] = []
    while segments:
        generated = sum(event.task.stage is Stage.GENERATE for event in done)
        stages: Collection[Stage] = (Stage.GENERATE,) if in_order and generated < chunks else tuple(Stage)
        runner.hand_out(stages)
        for event in runner.events():
            segments -= isinstance(event, SegmentFinal)
            done += [event] if isinstance(event, TaskDone) else []
            if isinstance(event, VideoFailed):
                raise RuntimeError(event.reason)
    for spec in specs:
        runner.cancel(spec.video_id)
    return _as_works(sorted(done, key=lambda event: event.receipt.began_s))


def _as_works(done: Sequence[TaskDone]) -> list[Work]:
    workers: dict[Stage, dict[str, int]] = {stage: {} for stage in Stage}
    start_s = done[0].receipt.began_s
    found = []
    for event in done:
        task, receipt = event.task, event.receipt
        number = workers[task.stage].setdefault(receipt.worker, len(workers[task.stage]) + 1)
        work = Work(
            stage=task.stage.value,
            actor=f"{POOLS[task.stage]} {number}",
            video=task.video_id,
            index=task.index,
            began_s=round(receipt.began_s - start_s, 4),
            ended_s=round(receipt.ended_s - start_s, 4),
            overhead_s=round(event.seconds - receipt.seconds, 6),
        )
        found.append(work)
    return found


def draw_timeline(runs: Mapping[str, Sequence[Work]], width: int = 1100) -> Image.Image:
    """One block a run under its name, all to the same scale, and an axis of seconds. Raises ValueError for no work."""
    if not runs or not all(runs.values()):
        raise ValueError(f"runs {list(runs)}: each has to have at least one work")
    lanes = {name: sorted({work.actor for work in some}) for name, some in runs.items()}
    end_s = max(work.ended_s for some in runs.values() for work in some)
    scale = (width - LEFT - RIGHT) / end_s
    videos = list(dict.fromkeys(work.video for some in runs.values() for work in some))
    bottom = sum(TITLE + LANE * len(actors) for actors in lanes.values())
    image = Image.new("RGB", (width, bottom + AXIS), "white")
    draw = ImageDraw.Draw(image)
    _axis(draw, end_s, scale, bottom)
    y = 0
    for name, some in runs.items():
        _text(draw, (8, y + TITLE // 2), f"{name}: {max(work.ended_s for work in some):.1f} s")
        for actor in lanes[name]:
            top = y + TITLE + LANE * lanes[name].index(actor)
            _text(draw, (8, top + LANE // 2), actor)
            for work in (work for work in some if work.actor == actor):
                _box(draw, work, scale, top, COLORS[videos.index(work.video) % len(COLORS)])
        y += TITLE + LANE * len(lanes[name])
    return image


def _box(draw: ImageDraw.ImageDraw, work: Work, scale: float, top: int, color: str) -> None:
    """Its number stands in it if there is room; what ends and begins at once is kept apart by a white line."""
    left, right = round(LEFT + work.began_s * scale), round(LEFT + work.ended_s * scale) - 2
    draw.rectangle((left, top + 3, max(left, right), top + LANE - 4), color)
    if draw.textlength(str(work.index), _font()) + 4 <= right - left:
        _text(draw, ((left + right) / 2, top + LANE // 2), str(work.index), "white", "mm")


def _axis(draw: ImageDraw.ImageDraw, end_s: float, scale: float, bottom: int) -> None:
    """Faint lines through all lanes at whole numbers of seconds, about ten of them."""
    step = next(step for step in (0.1, 0.5, 1, 2, 5, 10, 20, 60, 300, end_s) if end_s <= 12 * step)
    for tick in range(int(end_s / step) + 1):
        x = LEFT + tick * step * scale
        draw.line((x, 0, x, bottom), FAINT)
        _text(draw, (x, bottom + AXIS // 2), f"{tick * step:g} s", anchor="mm")


def _text(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, ink: str = INK, anchor: str = "lm") -> None:
    draw.text(place, text, ink, _font(), anchor)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(13)
