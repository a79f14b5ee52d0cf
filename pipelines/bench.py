"""`make bench`: what streaming costs and saves, measured in one run on the actors that a user would have.

    published    every video is generated, then every video is refined: the order of the published code
    streaming    1 base actor and 1 refiner actor at the same time, as Longtake does it

Each stage has one core and one thread in both, as each would have its own GPU in the field. The receipts of the tasks
say when each stage worked; the bound is what the busier of the two needs without ever waiting.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.metrics.gate import measure
from models.prompt import PromptSpec
from models.state import Chunk
from pipelines.build import stage_factories
from pipelines.cluster import connect
from pipelines.config import load
from pipelines.distributed import RayRunner, running
from pipelines.timeline import Work, draw_timeline, works

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


def main(num_frames: int = 40, folder: Path = FOLDER) -> None:
    """Writes bench.json, bench.md and bench.png into `folder`."""
    os.environ["RAY_worker_niceness"] = NICENESS  # noqa: SIM112 - it is spelled so
    conf = load(overrides=SETTINGS)
    connect(conf.ray)
    specs = [PromptSpec(f"{i}", prompt, num_frames=num_frames, seed=i) for i, prompt in enumerate(PROMPTS)]
    with running(conf, stage_factories(conf)) as runner:
        works(runner, specs[:1])  # what is built at the first call is built now
        published = works(runner, specs, in_order=True)
        streaming = works(runner, specs)
        first = dict(_first_segments(runner))
        chunks = _chunks(runner, specs[0])
    figures = _figures(published, streaming, first)
    figures |= _gate(chunks, figures, len(specs))
    runs = {"published": [asdict(work) for work in published], "streaming": [asdict(work) for work in streaming]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"figures": figures, **runs}))
    draw_timeline({"published": published, "streaming": streaming}).save(folder / "bench.png")
    (folder / "bench.md").write_text(_page(figures, num_frames))
    print((folder / "bench.md").read_text())


def _first_segments(runner: RayRunner) -> Iterator[tuple[str, float]]:
    """Seconds to the first segment of a video of 80 frames, in each coupling and in the published order."""
    for name, coupling in (("causal", "causal"), ("symmetric", "symmetric"), ("published order", "symmetric")):
        settings = (f"refiner.coupling={coupling}",)
        spec = PromptSpec("0", PROMPTS[0], num_frames=80, settings=settings)
        began = time.monotonic()
        if name == "published order":
            alone = works(runner, [spec], in_order=True)
            yield name, max(work.ended_s for work in alone)  # its file is there when all of it is
        else:
            stream = runner.stream(spec)
            next(stream)
            yield name, time.monotonic() - began
            stream.close()
            while runner.busy:  # what was begun ends before the next is measured
                runner.events()


def _figures(published: Sequence[Work], streaming: Sequence[Work], first: dict[str, float]) -> dict[str, float]:
    makespans = {name: max(w.ended_s for w in some) for name, some in (("p", published), ("s", streaming))}
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


def _chunks(runner: RayRunner, spec: PromptSpec) -> list[Chunk]:
    """The low-resolution frames of a video."""
    chunks: list[Chunk] = []
    for _ in runner.stream(spec, lambda _, output: chunks.append(output) if isinstance(output, Chunk) else None):
        pass
    return chunks


def _gate(chunks: Sequence[Chunk], figures: dict[str, float], num_videos: int) -> dict[str, float]:
    """What the quality gate adds to one video: a call of a writer for each chunk, and the measuring in it."""
    seconds = []
    for _ in range(9):
        began, measured = time.monotonic(), None
        for chunk in chunks:
            measured = measure(measured, chunk.frames)
        seconds.append(time.monotonic() - began)
    measure_ms = float(np.median(seconds)) * 1000
    calls_ms = len(chunks) * figures["overhead_median_ms"]
    models_ms = (figures["base_s"] + figures["refiner_s"]) / num_videos * 1000
    percent = 100 * (measure_ms + calls_ms) / models_ms
    return {"gate_measure_ms": measure_ms, "gate_calls_ms": calls_ms, "gate_percent": percent}


def _page(figures: dict[str, float], num_frames: int) -> str:
    rows = "\n".join(f"| {name} | {value:.3g} |" for name, value in figures.items())
    return PAGE.format(prompts=len(PROMPTS), frames=num_frames, settings=", ".join(SETTINGS), rows=rows)


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
there. `gate_measure` is what the quality gate of a bulk job takes to measure the chunks of one video (median of 9, one
after the other, while no actor works); `gate_calls` the way to a writer and back for each of them, by the median
overhead; `gate_percent` both over what the two stages work on a video. The base model can make another video meanwhile.
Of what is missing to the bound, the wait for the first window's chunks is most (a twentieth of these short
videos); the driver, and Ray itself, share the two cores with the stages.
"""

if __name__ == "__main__":
    main()
