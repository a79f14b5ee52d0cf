"""`make results`: what the shipped weights can do, measured on held-out prompts, into docs/results/tiny.md.

64 captions whose six words never stood together in training; 80 frames each; read by models/metrics/probe.py. Every
video is kept under runs/, so an interrupted run goes on. Two processes of one thread each.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from models.metrics.bootstrap import interval
from models.metrics.probe import probe
from models.metrics.scuts import scuts
from models.metrics.seams import seam_ratio
from models.noise import rng_for
from models.plan import Plan
from models.prompt import PromptSpec
from models.state import Chunk
from models.world import ATTRIBUTES, Scene, sample_scene
from pipelines.ablate_videos import chunks_of
from pipelines.config import Conf, load

if TYPE_CHECKING:
    from models.bundle import Bundle

NUM_PROMPTS = 64
NUM_FRAMES = 80
SEEDS = (0, 1, 2, 3)  # that the shipped weights were trained with: each draws other clips
VARIANTS = ("refined", "full", "no CAM", "no APM")  # a refined video leaves its low-resolution one behind
PROBED = ("color", "background", "motion", "shape", "size")
CUT = slice(-16, None)  # the end of a video


@dataclass(frozen=True)
class Job:
    """One video to make and to measure."""

    index: int
    variant: str
    folder: str
    scene: Scene


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


def measure(job: Job) -> dict[str, float | int | str | bool]:
    """Makes the video of a job unless it is there, and measures it."""
    import torch

    torch.set_num_threads(1)
    scene, frames = job.scene, _video(job)
    row: dict[str, float | int | str | bool] = {"index": job.index, "variant": job.variant, "prompt": scene.caption()}
    for place, piece in (("start", frames[:16]), ("end", frames[CUT])):
        reading = asdict(probe(piece))
        row |= {f"{name}_{place}": reading[name] == getattr(scene, name) for name in PROBED}
    plan = Plan(NUM_FRAMES, load().plan)
    row["seam"] = seam_ratio(frames, [chunk.start for chunk in plan.chunks[1:]])
    row["scuts"] = scuts(frames)
    return row


def _video(job: Job) -> UInt8[np.ndarray, "t h w c"]:
    path = Path(job.folder) / f"{job.variant.replace(' ', '-')}-{job.index:02d}.npy"
    if path.exists():
        return np.asarray(np.load(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = _make(job)
    for variant, frames in made.items():
        whole = path.with_name(f"{variant.replace(' ', '-')}-{job.index:02d}.npy")
        np.save(whole.with_suffix(".part.npy"), frames)
        whole.with_suffix(".part.npy").replace(whole)
    return made[job.variant]


def _make(job: Job) -> Mapping[str, UInt8[np.ndarray, "t h w c"]]:
    from pipelines.build import build_generator

    conf: Conf = load()
    conf = replace(conf, base=replace(conf.base, cam=job.variant != "no CAM", apm=job.variant != "no APM"))
    bundle = _bundle()
    spec = PromptSpec(f"{job.index}", job.scene.caption(), "", NUM_FRAMES, seed=1000 + job.index)
    if job.variant == "refined":
        low: list[Chunk] = []
        segments = build_generator(conf, bundle).stream(spec, lambda _, made: _keep_chunk(low, made))
        refined = np.concatenate([segment.frames for segment in segments])
        return {"refined": refined, "full": np.concatenate([chunk.frames for chunk in low])[:NUM_FRAMES]}
    return {job.variant: chunks_of(bundle, conf, spec, NUM_FRAMES)}


@cache
def _bundle() -> "Bundle":
    from pipelines.build import build_bundle

    return build_bundle(load())


def _keep_chunk(low: list[Chunk], made: object) -> None:
    if isinstance(made, Chunk):
        low.append(made)


def table(rows: Sequence[Mapping[str, float | int | str | bool]]) -> str:
    """The figures as Markdown, one column a variant."""
    by = {variant: [row for row in rows if row["variant"] == variant] for variant in VARIANTS}
    by = {variant: some for variant, some in by.items() if some}
    head = "| figure | " + " | ".join(f"{variant} ({len(some)})" for variant, some in by.items()) + " |"
    lines = [head, "|---" * (len(by) + 1) + "|"]
    names = {"color": "colour", "motion": "direction"}
    for place, where in (("start", "frames 0-15"), ("end", "frames 64-79")):
        for name in PROBED:
            cells = [_share([float(row[f"{name}_{place}"]) for row in some]) for some in by.values()]
            lines.append(f"| {names.get(name, name)} right, {where} | " + " | ".join(cells) + " |")
    for key, title in (("seam", "seam ratio at chunk borders (1 = invisible)"), ("scuts", "scene cuts a video")):
        cells = [_number([float(row[key]) for row in some]) for some in by.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _share(values: Sequence[float]) -> str:
    return "{:.0f} % ({:.0f}-{:.0f})".format(*(100 * value for value in interval(values)))


def _number(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*interval([value for value in values if np.isfinite(value)]))


def run(counts: Mapping[str, int], folder: Path, out: Path, training: Sequence[tuple[int, str, int]]) -> None:
    """Measures `counts` videos of each variant and writes rows, table and pictures."""
    scenes = held_out_scenes(NUM_PROMPTS, training)
    jobs = [Job(i, variant, str(folder), scenes[i]) for variant, count in counts.items() for i in range(count)]
    with ProcessPoolExecutor(2) as pool:
        rows = list(tqdm(pool.map(measure, jobs), total=len(jobs), desc="videos"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = out / "tiny.md"
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    before, rest = text.read_text().split(begin)
    text.write_text(before + begin + table(rows) + "\n" + end + rest.split(end)[1])
    _draw(folder, [variant for variant, count in counts.items() if count], out / "tiny.png")


def _draw(folder: Path, variants: Sequence[str], path: Path) -> None:
    """Every tenth frame of the first eight videos: a row for each variant under each other."""
    strips = []
    for index in range(8):
        for variant in variants:
            file = folder / f"{variant.replace(' ', '-')}-{index:02d}.npy"
            if file.exists():
                frames = np.load(file)[::10]
                scale = 96 / frames.shape[1]
                size = (round(frames.shape[2] * scale), 96)
                strips.append(np.concatenate([np.asarray(Image.fromarray(f).resize(size)) for f in frames], axis=1))
        strips.append(np.full((8, strips[-1].shape[1], 3), 255, np.uint8))
    Image.fromarray(np.concatenate(strips)).save(path)


def main() -> None:
    """`python -m pipelines.tiny_results [variant=count ...]`; the training pools are those of conf/train_tiny.yaml."""
    from pipelines.build import bundle_path
    from pipelines.bulk_params import hash_of
    from pipelines.commands import CONF
    from pipelines.compose import compose
    from pipelines.train import TrainConf

    conf = compose(TrainConf, CONF / "train_tiny.yaml")
    pools = (("base", conf.base.clips), ("memory", conf.memory.clips), ("refiner", conf.refiner.clips))
    training = [(seed, *pool) for seed in SEEDS for pool in pools]
    asked = dict(word.split("=") for word in sys.argv[1:])
    counts = {variant: int(asked.get(variant.replace(" ", "-"), NUM_PROMPTS)) for variant in VARIANTS}
    weights = hash_of(bundle_path(load().bundle))[:12]  # other weights, other videos
    run(counts, Path("runs/results") / weights, Path("docs/results"), training)


if __name__ == "__main__":
    main()
