"""`make bench`: what streaming costs and saves, measured in one run on the actors that a user would have.

    published    every video is generated, then every video is refined: the order of the published code
    streaming    1 base actor and 1 refiner actor at the same time, as Longtake does it

Each stage has one core and one thread in both, as each would have its own GPU in the field. The receipts of the tasks
say when each stage worked; the bound is what the busier of the two needs without ever waiting.
"""

import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from models.prompt import PromptSpec
from models.scheduler import Stage
from pipelines.build import stage_factories
from pipelines.cluster import connect
from pipelines.config import load
from pipelines.distributed import RayRunner, SegmentFinal, TaskDone, VideoFailed, running

FOLDER = Path("docs/results")
# At the default steps both stages of the tiny bundle work about equally long. A stage that is ahead may stay so.
SETTINGS = ("scheduler.lookahead_frames=1000000",)
# The driver has a core of its own in the field; on two cores, which the stages fill, it goes before them.
NICENESS = "5"
PROMPTS = tuple(
    f"a large {color} {shape} moves {way} over a plain navy background"
    for color, shape, way in zip(
        ("red", "green", "white", "yellow", "cyan", "orange", "magenta", "blue"),
        ("circle", "square", "ring", "triangle") * 2,
        ("right", "left", "up", "down") * 2,
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class Work:
    """One task: which stage had it, when (seconds since the first began), and what the way there and back took."""

    stage: str
    video: int
    began_s: float
    ended_s: float
    overhead_s: float


def main(num_frames: int = 40, folder: Path = FOLDER) -> None:
    """Writes bench.json, bench.md and bench.png into `folder`."""
    os.environ["RAY_worker_niceness"] = NICENESS  # noqa: SIM112 - it is spelled so
    conf = load(overrides=SETTINGS)
    connect(conf.ray)
    specs = [PromptSpec(f"{i}", prompt, num_frames=num_frames, seed=i) for i, prompt in enumerate(PROMPTS)]
    with running(conf, stage_factories(conf)) as runner:
        _works(runner, specs[:1], in_order=False)  # what is built at the first call is built now
        published = _works(runner, specs, in_order=True)
        streaming = _works(runner, specs, in_order=False)
        first = dict(_first_segments(runner))
    figures = _figures(published, streaming, first)
    runs = {"published": [asdict(work) for work in published], "streaming": [asdict(work) for work in streaming]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"figures": figures, **runs}))
    _draw(published, streaming).save(folder / "bench.png")
    (folder / "bench.md").write_text(_page(figures, num_frames))
    print((folder / "bench.md").read_text())


def _works(runner: RayRunner, specs: Sequence[PromptSpec], in_order: bool) -> list[Work]:
    """The tasks of all videos; with `in_order` no window is refined before the last chunk of all is there."""
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
    start = min(event.receipt.began_s for event in done)
    return [_work(event, start) for event in done]


def _work(event: TaskDone, start: float) -> Work:
    receipt = event.receipt
    times = round(receipt.began_s - start, 4), round(receipt.ended_s - start, 4)
    return Work(event.task.stage.value, int(event.task.video_id), *times, round(event.seconds - receipt.seconds, 6))


def _first_segments(runner: RayRunner) -> Iterator[tuple[str, float]]:
    """Seconds to the first segment of a video of 80 frames, in each coupling and in the published order."""
    for name, coupling in (("causal", "causal"), ("symmetric", "symmetric"), ("published order", "symmetric")):
        settings = (f"refiner.coupling={coupling}",)
        spec = PromptSpec("0", PROMPTS[0], num_frames=80, settings=settings)
        began = time.monotonic()
        if name == "published order":
            works = _works(runner, [spec], in_order=True)
            yield name, max(work.ended_s for work in works)  # its file is there when all of it is
        else:
            stream = runner.stream(spec)
            next(stream)
            yield name, time.monotonic() - began
            stream.close()
            while runner.busy:  # what was begun ends before the next is measured
                runner.events()


def _figures(published: Sequence[Work], streaming: Sequence[Work], first: dict[str, float]) -> dict[str, float]:
    makespans = {name: max(w.ended_s for w in works) for name, works in (("p", published), ("s", streaming))}
    sums = {
        stage: sum(w.ended_s - w.began_s for w in streaming if w.stage == stage) for stage in ("generate", "refine")
    }
    overhead = np.array([work.overhead_s for work in streaming]) * 1000
    return {
        "published_s": makespans["p"],
        "streaming_s": makespans["s"],
        "ratio": makespans["s"] / makespans["p"],
        "base_s": sums["generate"],
        "refiner_s": sums["refine"],
        "of_bound": max(sums.values()) / makespans["s"],
        "overhead_median_ms": float(np.median(overhead)),
        "overhead_p99_ms": float(np.percentile(overhead, 99)),
        "tasks": float(len(streaming)),
        **{f"first_segment_{name.replace(' ', '_')}_s": seconds for name, seconds in first.items()},
    }


def _page(figures: dict[str, float], num_frames: int) -> str:
    rows = "\n".join(f"| {name} | {value:.3g} |" for name, value in figures.items())
    return PAGE.format(prompts=len(PROMPTS), frames=num_frames, settings=", ".join(SETTINGS), rows=rows)


def _draw(published: Sequence[Work], streaming: Sequence[Work]) -> Image.Image:
    """Two pairs of lanes, base model above refiner; a colour a video."""
    width, lane, left = 1200, 34, 110
    scale = (width - left - 20) / max(work.ended_s for work in published)
    image = Image.new("RGB", (width, 6 * lane + 10), "white")
    draw = ImageDraw.Draw(image)
    for row, (name, works) in enumerate((("published", published), ("streaming", streaming))):
        top = row * 3 * lane + 8
        draw.text((8, top), name, "black")
        for place, stage in enumerate(("generate", "refine")):
            y = top + 14 + place * (lane - 4)
            draw.text((24, y + 6), stage, "#555555")
            for work in works:
                if work.stage == stage:
                    box = (left + work.began_s * scale, y, left + work.ended_s * scale - 1, y + lane - 10)
                    draw.rectangle(box, COLORS[work.video % len(COLORS)])
        draw.text((width - 80, top), f"{max(work.ended_s for work in works):.0f} s", "black")
    return image


PAGE = """# Streaming, measured

`make bench`: {prompts} prompts of {frames} frames on the tiny bundle, {settings};
one base actor and one refiner actor on Ray, one core and one thread each. *published*: everything is generated, then
everything refined. *streaming*: both at the same time.

![When each stage worked: above in the published order, below streaming](bench.png)

| figure | value |
|---|---|
{rows}

`ratio` is streaming over published (0.5 would be perfect balance); `of_bound` is the time of the busier stage over the
makespan (1: it never waited). `overhead` is the wall time of a task, from the call to the answer, minus the stage's own
seconds. `first_segment` is of one video of 80 frames; in the published order nothing can be watched before all of it is
there. Of what is missing to the bound, the wait for the first window's three chunks is most (a twentieth of these short
videos); the driver, and Ray itself, share the two cores with the stages.
"""

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d")

if __name__ == "__main__":
    main()
