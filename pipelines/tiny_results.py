"""`make results`: what the shipped weights do against what they aim at, on held-out prompts: docs/results/tiny.md.

    longtake ablate's videos, figures    80 frames: refined, low resolution, without CAM    64 prompts, 24 without CAM
                                         240 frames: the same, with and without APM         24 prompts, 8 refined
                                         80 frames with many steps                          24 prompts
    pipelines/tiny_measures.py           VAE, words of a caption, refiner against truth, costs

What is there is not made again. How even the refiner's motion is comes out of docs/results/ablations.jsonl.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.metrics.bootstrap import Interval
from models.noise import rng_for
from models.world import ATTRIBUTES, Scene, sample_scene
from pipelines.ablate import frames_of, measured
from pipelines.ablate_figures import FIGURES, Estimate, Row, difference, mean
from pipelines.ablate_params import AblateConf, load_ablate
from pipelines.ablate_report import BEGIN, END, around

SEEDS = (0, 1, 2, 3, 5)  # that the shipped weights were trained with: each draws other clips
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
    "no-cam": Run(24, 80, "[no-cam]"),
    "long": Run(24, 240, "[no-apm]"),
    "long-refined": Run(8, 240, "[symmetric]"),
    "many": Run(24, 80, "[symmetric]", MANY),
}
Rows = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Aim:
    """A line of the table: a figure, what it aims at, and what was measured."""

    figure: str
    aim: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"| {self.figure} | {self.aim} | {self.measured} | {'yes' if self.met else '**no**'} |"


def held_out_scenes(count: int, training: Sequence[tuple[int, str, int]]) -> list[Scene]:
    """Scenes whose words never stood together in the training pools, which are (seed, purpose, clips)."""
    from models.training.pool import pool_scenes

    seen = {_words(scene) for seed, purpose, clips in training for scene in pool_scenes(seed, purpose, clips, 0)[0]}
    scenes: list[Scene] = []
    index = 0
    while len(scenes) < count:
        scene = sample_scene(rng_for(0, "held-out-prompts", 0, index))
        index += 1
        if _words(scene) not in seen:
            seen.add(_words(scene))
            scenes.append(scene)
    return scenes


def _words(scene: Scene) -> tuple[str, ...]:
    return tuple(getattr(scene, name) for name in ATTRIBUTES)


# ---- the aims


def attribute_aims(rows: Rows) -> list[Aim]:
    """What the finished video shows, at its start, at the end of 80 frames and of 240."""
    lines = []
    names = (("color", "colour"), ("background", "background"), ("shape", "shape"), ("motion", "direction"))
    least = {"color": (97, 95, 90), "background": (97, 95, 90), "shape": (85, 80, 70), "motion": (85, 80, 75)}
    for name, title in names:
        where = (("frames 0-15", "short", "start"), ("the end of 80", "short", "end"), ("the end of 240", None, "end"))
        for (place, run, end), aim in zip(where, least[name], strict=True):
            if run is None:  # refining 240 frames takes minutes: most of the long videos are of low resolution
                parts = {"refined": ("long-refined", "symmetric"), "low resolution": ("long", "full")}
                found = {what: _mean(rows[some], f"{name}_{end}", variant) for what, (some, variant) in parts.items()}
                told = "; ".join(f"{what} {_share(one)}" for what, one in found.items())
                met = all(100 * one.mean >= aim for one in found.values())
            else:
                one = _mean(rows[run], f"{name}_{end}", "symmetric")
                told, met = _share(one), 100 * one.mean >= aim
            lines.append(Aim(f"{title} right, {place}", f">= {aim} %", told, met))
    return lines


def memory_aims(rows: Rows) -> list[Aim]:
    """CAM holds neighbouring chunks together, APM the end to the beginning."""
    both = rows["no-cam"]
    cuts, seams = ([_mean(both, name, one) for one in ("full", "no-cam")] for name in ("scuts", "seam_ratio"))
    lines = [
        Aim("scene cuts in 80 frames, with CAM / without", "0 / more", _pair(cuts), cuts[0].mean < 0.05 < cuts[1].low),
        Aim(
            "seam difference over inner difference, with CAM / without", "<= 1.5 / >= 3", _pair(seams),
            seams[0].mean <= 1.5 and seams[1].mean >= 3,
        ),
    ]  # fmt: skip
    for name, title in (("drift_color", "colour"), ("drift_sharpness", "texture (sharpness)")):
        gap = difference(rows["long"], FIGURES[name], "no-apm", "full")
        ends = [_mean(rows["long"], name, one) for one in ("full", "no-apm")]
        assert gap is not None, "every prompt has both"
        told = f"{_pair(ends, 4)}; difference {_number(gap, 4)}"
        lines.append(
            Aim(f"drift of {title} over 240 frames, with APM / without", "lower with, apart from 0", told, gap.low > 0)
        )
    return lines


def refiner_aims(figures: Mapping[str, Interval], ablation: Sequence[Row]) -> list[Aim]:
    """Evenness of motion, and nearness to the truth."""
    lines = []
    steps = (("independent", "shared-noise"), ("shared-noise", "symmetric"), ("shared-noise", "causal"))
    for greater, lesser in steps:
        gap = difference(ablation, FIGURES["flow_std"], greater, lesser)
        told = "not measured" if gap is None else f"difference {_number(gap, 3)} px, {gap.count} prompts"
        apart = gap is not None and gap.low > 0
        lines.append(Aim(f"flow's standard deviation: {greater} > {lesser}", "apart from 0", told, apart))
    for name, title, digits in (
        ("psnr", "PSNR, dB", 1),
        ("ssim", "SSIM", 3),
        ("sharpness", "sharpness over truth's", 2),
    ):
        ways = [figures[f"{name}_{way}"] for way in ("refined", "bilinear")]
        told = " / ".join(_number(_of(way), digits) for way in ways)
        gain = _of(figures[f"{name}_gain"])
        lines.append(Aim(f"{title}: refined / bilinear", "better", told, gain.low > 0))
    return lines


def network_aims(vae: Mapping[str, Interval], swaps: Mapping[str, Interval], costs: Mapping[str, float]) -> list[Aim]:
    """What the networks are and cost."""
    lines = [
        Aim(f"VAE at {size} px, dB", ">= 32", _number(_of(vae[f"psnr_{size}"]), 1), vae[f"psnr_{size}"][0] >= 32)
        for size in (64, 128)
    ]
    shapes = [_of(vae[f"shape_{what}"]) for what in ("vae", "true")]
    lines.append(
        Aim("shape read after the VAE / in the truth", ">= 95 % of it", " / ".join(map(_share, shapes)),
            shapes[0].mean >= 0.95 * shapes[1].mean)
    )  # fmt: skip
    for name, gap in swaps.items():
        told = _number(_of(gap), 4)
        lines.append(Aim(f"what a wrong {name} costs (loss at t = 999)", "> 0", told, gap[1] > 0))
    limits = (("bundle_mb", "bundle, MB", 25), ("chunk_s", "chunk, s", 1.5), ("window_s", "window, s", 3))
    return lines + [
        Aim(f"{title}, on 2 cores", f"<= {limit}", f"{costs[name]:.2f}", costs[name] <= limit)
        for name, title, limit in limits
    ]


def step_aims(rows: Rows) -> list[Aim]:
    """The default takes 8 and 4 steps: what many more steps change."""
    fast = [row for row in rows["short"] if row["index"] < RUNS["many"].num_prompts]
    lines = []
    for name, title in (("color", "colour"), ("background", "background"), ("shape", "shape"), ("motion", "direction")):
        few, many = (_mean(some, f"{name}_end", "symmetric") for some in (fast, rows["many"]))
        near = 100 * (many.mean - few.mean) <= 3
        told = f"{_share(few)} / {_share(many)}"
        lines.append(Aim(f"{title} right at the end of 80: 8 + 4 steps / 24 + 12", "within 3 points", told, near))
    return lines


def _mean(rows: Sequence[Row], name: str, variant: str) -> Estimate:
    found = mean(rows, FIGURES[name], variant)
    assert found is not None, f"no video of {variant} has {name}"
    return found


def _of(found: Interval) -> Estimate:
    return Estimate(*found, count=0, left_out=0)


def _share(one: Estimate) -> str:
    return f"{100 * one.mean:.0f} % ({100 * one.low:.0f}-{100 * one.high:.0f})"


def _number(one: Estimate, digits: int = 2) -> str:
    return f"{one.mean:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def _pair(both: Sequence[Estimate], digits: int = 2) -> str:
    return " / ".join(_number(one, digits) for one in both)


# ---- the command


def run(conf_of: Callable[[Run], AblateConf], out: Path) -> None:
    """Makes and measures what is missing, and writes the page, its rows and its picture."""
    from pipelines.ablate import scenes_of
    from pipelines.build import build_bundle
    from pipelines.tiny_measures import costs, refiner_figures, swap_figures, vae_figures

    around(out / "tiny.md")
    confs = {name: conf_of(one) for name, one in RUNS.items()}
    rows = {name: measured(conf) for name, conf in confs.items()}
    conf = confs["short"]
    bundle, scenes = build_bundle(conf), scenes_of(conf)
    vae, swaps = vae_figures(bundle, scenes[:48]), swap_figures(bundle, scenes)
    truth = refiner_figures(bundle, conf, scenes[:24])
    lines = [
        *attribute_aims(rows),
        *memory_aims(rows),
        *refiner_aims(truth, _ablation(out)),
        *network_aims(vae, swaps, costs(bundle, conf, scenes[0])),
        *step_aims(rows),
    ]
    write(out, lines, rows)
    _draw(confs, out / "tiny.png")


def write(out: Path, lines: Sequence[Aim], rows: Rows) -> None:
    """The table between the markers of tiny.md, and a line a video in tiny.jsonl."""
    page = out / "tiny.md"
    before, after = around(page)
    head = ["| figure | aim | measured | met |", "|---|---|---|---|"]
    table = "\n".join([*head, *map(str, lines)])
    met = sum(line.met for line in lines)
    text = f"{met} of {len(lines)} aims are met.\n\n{table}"
    page.write_text(f"{before}{BEGIN}{text}\n{END}{after}")
    with (out / "tiny.jsonl").open("w") as file:
        for name, some in rows.items():
            for row in some:
                kept = {key: value for key, value in row.items() if key != "curve"}
                file.write(json.dumps({"run": name, **kept}) + "\n")


def _ablation(out: Path) -> list[Row]:
    place = out / "ablations.jsonl"
    return [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []


def _draw(confs: Mapping[str, AblateConf], path: Path) -> None:
    """Every tenth frame of the first eight videos: refined, low resolution, without CAM; then long ones, every 30th."""
    strips: list[Any] = []
    shown = ("short", "no-cam", "long")
    for index in range(min(8, *(conf.num_prompts for name, conf in confs.items() if name in shown))):
        for name, variant, every in (("short", "symmetric", 10), ("short", "full", 10), ("no-cam", "no-cam", 10)):
            strips.append(_strip(frames_of(confs[name], index, variant)[::every]))
        for variant in ("full", "no-apm"):
            strips.append(_strip(frames_of(confs["long"], index, variant)[::30]))
        strips.append(np.full((8, strips[-1].shape[1], 3), 255, np.uint8))
    widest = max(strip.shape[1] for strip in strips)
    even = [np.pad(strip, ((0, 0), (0, widest - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    Image.fromarray(np.concatenate(even)).save(path)


def _strip(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(Image.fromarray(frame).resize((96, 96))) for frame in frames], axis=1)


def main(words: Sequence[str]) -> None:
    """`python -m pipelines.tiny_results [run=count ...] [key=value ...]`: other counts, settings of ablate."""
    counts = {key: int(value) for key, _, value in (word.partition("=") for word in words) if key in RUNS}
    others = [word for word in words if word.partition("=")[0] not in RUNS]

    def conf_of(one: Run) -> AblateConf:
        about = [f"num_prompts={one.num_prompts}", f"num_frames={one.num_frames}", f"variants={one.variants}"]
        return load_ablate(overrides=[*about, *one.settings, *others])

    for name, count in counts.items():
        RUNS[name] = replace(RUNS[name], num_prompts=count)
    run(conf_of, OUT)


if __name__ == "__main__":
    main(sys.argv[1:])
