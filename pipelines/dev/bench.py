"""`make bench`: the costs and savings of streaming, measured in one run on the actors that a user would have.

    published    all videos are generated, then all videos are refined: the order of the published code
    streaming    1 base actor and 1 refiner actor at the same time, as Longtake works; symmetric, and causal

Each stage has one core and one thread in both, as it would have its own GPU in production. The receipts of the tasks
tell when each stage worked; the bound is the time that the busier stage needs if it never waits.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from longtake.actors.worker import WorkerActor
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Chunk
from longtake.models.metrics.gate import measure
from longtake.pipelines.config.conf import load
from longtake.pipelines.dev.timeline import TimedTask, draw_timeline, timed_tasks
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.runners.ray_runner import RayRunner, running
from longtake.pipelines.runners.stages import stage_factories

Tasks = Sequence[TimedTask]

FOLDER = Path("docs/results")
# Guidance, off by default, doubles the network calls of the refiner: without it the refiner would mostly wait. With it
# the stages worked 104 s and 78 s. The lookahead does not slow the base model down.
SETTINGS = ("scheduler.lookahead_frames=1000000", "refiner.guidance_scale=3")
# In production the driver has a core of its own; here the stages fill both cores, so it gets priority over them.
NICENESS = "5"
TARGETS = {"ratio": "<= 0.6", "of_bound": ">= 0.95", "of_bound_causal": ">= 0.95", "overhead_median_ms": "<= 5"}
TITLES = {
    "published_s": "published: makespan, s",
    "streaming_s": "streaming: makespan, s",
    "ratio": "streaming over published",
    "base_s": "streaming: base model busy, s",
    "refiner_s": "streaming: refiner busy, s",
    "of_bound": "streaming: busier stage over makespan",
    "tail_s": "streaming: tail, s",
    "streaming_causal_s": "causal streaming: makespan, s",
    "ratio_causal": "causal streaming over published",
    "of_bound_causal": "causal streaming: busier stage over makespan",
    "overhead_median_ms": "overhead of a task, median, ms",
    "overhead_p99_ms": "overhead of a task, 99th percentile, ms",
    "tasks": "number of tasks",
    "bare_call_median_ms": "overhead of a bare call, median, ms",
    "first_segment_causal_s": "first segment, causal coupling, s",
    "first_segment_symmetric_s": "first segment, symmetric coupling, s",
    "first_segment_published_order_s": "first segment, published order, s",
    "gate_measure_ms": "quality gate: measuring, ms per video",
    "gate_calls_ms": "quality gate: calls, ms per video",
    "gate_percent": "quality gate: share of the working time, %",
}
PROMPTS = tuple(
    f"a large {color} {shape} moves {way} over a plain navy background"
    for color, shape, way in zip(
        ("red", "green", "white", "yellow", "cyan", "orange", "magenta", "blue"),
        ("circle", "square", "ring", "triangle") * 2,
        ("right", "left", "up", "down") * 2,
        strict=True,
    )
)


def main(num_frames: int = 80, folder: Path = FOLDER) -> None:
    """Writes bench.json, bench.md and bench.png into `folder`."""
    os.environ["RAY_worker_niceness"] = NICENESS  # noqa: SIM112 - Ray's spelling
    conf = load(overrides=SETTINGS)
    connect(conf.ray)
    specs = [PromptSpec(f"{i}", prompt, num_frames=num_frames, seed=i) for i, prompt in enumerate(PROMPTS)]
    with running(conf, stage_factories(conf)) as runner:
        timed_tasks(runner, specs[:1])  # not measured: the first call builds caches
        published = timed_tasks(runner, specs, in_order=True)
        streaming = timed_tasks(runner, specs)
        causal = timed_tasks(runner, [replace(spec, settings=(("refiner.coupling", "causal"),)) for spec in specs])
        pace_s = float(np.median([task.ended_s - task.began_s for task in streaming]))
        first = dict(_first_segments(runner))
        chunks = _chunks(runner, specs[0])
    figures = _figures(published, streaming, causal) | {"bare_call_median_ms": _bare_call_ms(pace_s)}
    figures |= {f"first_segment_{name.replace(' ', '_')}_s": seconds for name, seconds in first.items()}
    figures |= _gate(chunks, figures, len(specs))
    runs = {"published": [asdict(task) for task in published], "streaming": [asdict(task) for task in streaming]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"figures": figures, **runs}))
    draw_timeline({"published": published, "streaming": streaming}).savefig(folder / "bench.png")
    (folder / "bench.md").write_text(_page(figures, num_frames))
    print((folder / "bench.md").read_text())


def _first_segments(runner: RayRunner) -> Iterator[tuple[str, float]]:
    """Seconds to the first segment of a video of 80 frames, for each coupling and for the published order."""
    for name, coupling in (("causal", "causal"), ("symmetric", "symmetric"), ("published order", "symmetric")):
        settings = (("refiner.coupling", coupling),)
        spec = PromptSpec("0", PROMPTS[0], num_frames=80, settings=settings)
        began = time.monotonic()
        if name == "published order":
            alone = timed_tasks(runner, [spec], in_order=True)
            yield name, max(task.ended_s for task in alone)  # its file exists only when it is complete
        else:
            stream = runner.stream(spec)
            next(stream)
            yield name, time.monotonic() - began
            stream.close()
            while runner.busy:  # running tasks end before the next measurement
                runner.events()


def _figures(
    published: Sequence[TimedTask], streaming: Sequence[TimedTask], causal: Sequence[TimedTask]
) -> dict[str, float]:
    published_s, streaming_s, causal_s = (max(task.ended_s for task in run) for run in (published, streaming, causal))
    base_s, refiner_s = (_worked_s(streaming, stage) for stage in ("generate", "refine"))
    tail_s = streaming_s - max(task.ended_s for task in streaming if task.stage == "generate")
    overhead = np.array([task.overhead_s for task in streaming]) * 1000
    return {
        "published_s": published_s,
        "streaming_s": streaming_s,
        "ratio": streaming_s / published_s,
        "base_s": base_s,
        "refiner_s": refiner_s,
        "of_bound": max(base_s, refiner_s) / streaming_s,
        "tail_s": tail_s,
        "streaming_causal_s": causal_s,
        "ratio_causal": causal_s / published_s,
        "of_bound_causal": max(_worked_s(causal, stage) for stage in ("generate", "refine")) / causal_s,
        "overhead_median_ms": float(np.median(overhead)),
        "overhead_p99_ms": float(np.percentile(overhead, 99)),
        "tasks": float(len(streaming)),
    }


def _worked_s(run: Tasks, stage: str) -> float:
    return sum(task.ended_s - task.began_s for task in run if task.stage == stage)


class _Spin:
    """A stage for an actor that works for a given time and carries no data."""

    def warm_up(self) -> None: ...

    def spin(self, seconds: float) -> tuple[None, None]:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            pass
        return None, None


def _bare_call_ms(seconds: float) -> float:
    """The overhead of a call of Ray without data, as long as a task: median of 20, one after the other."""
    actor: Any = WorkerActor.options(num_cpus=0).remote(_Spin)
    ray.get(actor.prove.remote())
    overheads = []
    for _ in range(20):
        began = time.monotonic()
        receipt, *_ = actor.call.remote("spin", seconds)
        ray.wait([receipt], fetch_local=False)
        overheads.append(time.monotonic() - began - ray.get(receipt).seconds)
    ray.kill(actor)
    return float(np.median(overheads)) * 1000


def _chunks(runner: RayRunner, spec: PromptSpec) -> list[Chunk]:
    """The low-resolution frames of a video."""
    chunks: list[Chunk] = []
    for _ in runner.stream(spec, lambda _, output: chunks.append(output) if isinstance(output, Chunk) else None):
        pass
    return chunks


def _gate(chunks: Sequence[Chunk], figures: dict[str, float], num_videos: int) -> dict[str, float]:
    """The quality gate's cost for one video: a call of a writer per chunk, and the measuring in it."""
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
    rows = "\n".join(f"| {TITLES[name]} | {value:.3g} | {TARGETS.get(name, '')} |" for name, value in figures.items())
    return PAGE.format(prompts=len(PROMPTS), frames=num_frames, settings=", ".join(SETTINGS), rows=rows)


PAGE = """# Streaming, measured

`make bench`: {prompts} prompts of {frames} frames on the tiny bundle, {settings};
one base actor and one refiner actor on Ray, one core and one thread each. *published*: everything is generated, then
everything is refined. *streaming*: both at the same time. The guidance of the refiner is off by default; here it makes
that stage count too.

![Working times of each stage, above in the published order, below with streaming](bench.png)

| number | value | target |
|---|---|---|
{rows}

*Streaming over published* would be 0.5 in perfect balance; *busier stage over makespan*, 1 if that stage never waited.
The rest is the beginning, until the first window has its chunks, and the *tail*, the refinement after the last chunk.
In the symmetric coupling each window uses both neighbours, so it can be only one step ahead of the next: when the last
chunk arrives, the last window still needs all of its 4 calls (3 steps and the decoding), the one before it 3, and so
on: 10 calls. That does not grow with the job, and a causal window does not wait for the next one.

The *overhead of a task* is its wall time, from the call to the answer, minus the stage's own seconds. A *bare call*
carries no data and takes as long as a task: its overhead is the cost of Ray itself at this pace.

*First segment* is the wait for the first segment of a video of 80 frames; in the published order nothing can be watched
before the video is complete. For the quality gate of a bulk job, *measuring* is its time for the chunks of one video
(median of 9, one after the other, while no actor works), *calls* the overhead of a writer's call for each of them, and
the *share* their sum over the working time of both stages. The base model can work meanwhile.
"""

if __name__ == "__main__":
    main()
