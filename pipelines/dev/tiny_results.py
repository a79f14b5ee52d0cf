"""`make results`: the shipped weights against their targets, on held-out prompts: docs/results/tiny.md.

    longtake ablate's videos, metrics    80 frames: refined, low resolution, without CAM    64 prompts
                                         240 frames: the same, with and without APM         48 prompts, 8 refined
                                         80 frames: the refiner's variants                  64 prompts
                                         the same with fresh noise at every step            48 prompts
                                         80 frames with many steps                          64 prompts
    pipelines/dev/tiny_measures.py           VAE, words of a caption, refiner against truth, costs

Existing videos and metrics are kept.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from longtake.pipelines.ablation.command import load_frames, measured
from longtake.pipelines.ablation.jobs import BEGIN, END, Job, around, jobs_of
from longtake.pipelines.ablation.settings import AblateConf, load_ablate
from longtake.pipelines.ablation.statistics import ResultRow
from longtake.pipelines.dev.attributes import attributes
from longtake.pipelines.dev.held_out import held_out_scenes
from longtake.pipelines.dev.tiny_targets import (
    Rows,
    Target,
    attribute_targets,
    memory_targets,
    network_targets,
    refiner_targets,
    step_targets,
)

MANY = (
    "base.num_inference_steps=24",
    "refiner.num_inference_steps=12",
)  # the full version; the default is the fast one
OUT = Path("docs/results")


@dataclass(frozen=True, slots=True)
class Run:
    """Videos of `longtake ablate`."""

    num_prompts: int
    num_frames: int
    variants: str
    settings: tuple[str, ...] = ()


RUNS = {
    "short": Run(64, 80, "[symmetric]"),
    "no-cam": Run(64, 80, "[no-cam]"),
    "long": Run(48, 240, "[no-apm]"),
    "long-refined": Run(8, 240, "[symmetric]"),
    "even": Run(64, 80, "[causal,shared-noise,independent]"),
    "noisy": Run(48, 80, "[noisy-symmetric,noisy-shared-noise,noisy-independent]"),
    "many": Run(64, 80, "[symmetric]", MANY),
}


def run(conf_of: Callable[[Run], AblateConf], out: Path) -> None:
    """Makes and measures missing videos, and writes the page, its rows and its pictures."""
    from longtake.pipelines.dev.tiny_measures import costs, refiner_figures, swap_figures, vae_figures
    from longtake.pipelines.runners.stages import build_bundle

    around(out / "tiny.md")
    confs = {name: conf_of(sample) for name, sample in RUNS.items()}
    jobs = {name: jobs_of(conf) for name, conf in confs.items()}
    rows = {name: measured(some, attributes) for name, some in jobs.items()}
    conf = confs["short"]
    bundle, scenes = build_bundle(conf), held_out_scenes(conf.num_prompts)
    vae, swaps = vae_figures(bundle, scenes[:48]), swap_figures(bundle, scenes)
    truth = refiner_figures(bundle, conf, scenes)
    few = [row for row in rows["short"] if row["index"] < confs["many"].num_prompts]
    lines = [
        *attribute_targets(rows),
        *memory_targets(rows),
        *refiner_targets(truth, rows["even"], rows["noisy"]),
        *network_targets(vae, swaps, costs(bundle, conf, scenes[0])),
        *step_targets(few, rows["many"]),
    ]
    write(out, lines, rows)
    _draw(jobs, out / "tiny.png")
    _draw_memory(jobs["long"], rows["long"], out / "tiny-apm.png")


def write(out: Path, lines: Sequence[Target], rows: Rows) -> None:
    """The table between the markers of tiny.md, and one line per video in tiny.jsonl."""
    page = out / "tiny.md"
    before, after = around(page)
    head = ["| metric | target | measured | met |", "|---|---|---|---|"]
    table = "\n".join([*head, *map(str, lines)])
    met = sum(line.met for line in lines)
    text = f"{met} of {len(lines)} targets are met.\n\n{table}"
    page.write_text(f"{before}{BEGIN}{text}\n{END}{after}")
    with (out / "tiny.jsonl").open("w") as file:
        for name, some in rows.items():
            for row in some:
                kept = {key: value for key, value in row.items() if key != "curve"}
                file.write(json.dumps({"run": name, **kept}) + "\n")


def _draw(jobs: Mapping[str, Sequence[Job]], path: Path) -> None:
    """Every tenth frame of the first eight videos: refined, low resolution, without CAM; then long ones, every 30th."""
    strips: list[Any] = []
    shown = ("short", "no-cam", "long")
    for index in range(min(8, *(len(some) for name, some in jobs.items() if name in shown))):
        for name, variant, every in (("short", "symmetric", 10), ("short", "full", 10), ("no-cam", "no-cam", 10)):
            strips.append(_strip(load_frames(jobs[name][index].video(variant))[::every]))
        for variant in ("full", "no-apm"):
            strips.append(_strip(load_frames(jobs["long"][index].video(variant))[::30]))
        strips.append(np.full((8, strips[-1].shape[1], 3), 255, np.uint8))
    widest = max(strip.shape[1] for strip in strips)
    even = [np.pad(strip, ((0, 0), (0, widest - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    Image.fromarray(np.concatenate(even)).save(path)


def _draw_memory(jobs: Sequence[Job], rows: Sequence[ResultRow], path: Path) -> None:
    """With APM above, without it below, at low resolution: the anchor, and every 30th frame after it."""
    strips: list[Any] = []
    for index in helped_and_harmed(rows):
        job, anchor = jobs[index], jobs[index].conf.base.anchor_frame
        strips += [_strip(load_frames(job.video(variant))[anchor::30]) for variant in ("full", "no-apm")]
        strips.append(np.full((8, strips[-1].shape[1], 3), 255, np.uint8))
    Image.fromarray(np.concatenate(strips)).save(path)


def helped_and_harmed(rows: Sequence[ResultRow]) -> list[int]:
    """Indices of the three prompts whose colour drift APM reduces most, then of the three where it adds most."""
    drift = {(row["index"], row["variant"]): row["drift_color"] for row in rows}
    indices = sorted({row["index"] for row in rows}, key=lambda index: drift[index, "full"] - drift[index, "no-apm"])
    return list(dict.fromkeys(indices[:3] + indices[-3:]))


def _strip(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(Image.fromarray(frame).resize((96, 96))) for frame in frames], axis=1)


def main(words: Sequence[str]) -> None:
    """`tiny_results [run=count ...] [key=value ...]`: other counts, settings of ablate."""
    counts = {key: int(value) for key, _, value in (word.partition("=") for word in words) if key in RUNS}
    others = [word for word in words if word.partition("=")[0] not in RUNS]

    def conf_of(sample: Run) -> AblateConf:
        about = [f"out={OUT}", f"num_prompts={sample.num_prompts}", f"num_frames={sample.num_frames}"]
        about.append(f"variants={sample.variants}")
        return load_ablate(overrides=[*about, *sample.settings, *others])

    for name, count in counts.items():
        RUNS[name] = replace(RUNS[name], num_prompts=count)
    run(conf_of, OUT)


if __name__ == "__main__":
    main(sys.argv[1:])
