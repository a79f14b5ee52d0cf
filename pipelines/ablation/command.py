"""`longtake ablate`: the paper's ablations and its training-free rivals, on one base model, prompts and seeds.

    prompt by prompt   videos of all variants ──► <work>/<key>/<variant>/<prompt>.npz
                       figures of each        ──► <prompt>.<flow>.json beside it
    at the end         paired differences, the paper's claims, plots ──► <out>/ablations.md, .jsonl, .png

What is there is not made again: an interrupted run goes on, and so does one that asks for more prompts or variants. The
key names the weights and every setting that a video depends on.
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from longtake.models.domain.prompt import PromptSpec
from longtake.models.metrics.flow import dis
from longtake.models.metrics.measure import measure
from longtake.models.toy_world.probe import probe
from longtake.models.toy_world.world import Scene
from longtake.pipelines.ablation.held_out import held_out_scenes
from longtake.pipelines.ablation.image_to_video import check_folder
from longtake.pipelines.ablation.report import around, write
from longtake.pipelines.ablation.settings import AblateConf, Kind, Variant
from longtake.pipelines.ablation.video_maker import Frames, Made, Maker
from longtake.pipelines.config.provenance import hash_of, video_settings
from longtake.pipelines.runners.stages import bundle_path

logger = logging.getLogger(__name__)

Row = dict[str, Any]
PROBED = ("color", "background", "motion", "shape", "size")
ENDS = {"start": slice(0, 16), "end": slice(-16, None)}


@dataclass(frozen=True)
class Job:
    """All variants of one prompt. `scene` is what the prompt says, where it is of the moving shapes."""

    conf: AblateConf
    index: int
    spec: PromptSpec
    scene: Scene | None
    folder: Path


def run(conf: AblateConf) -> None:
    """Makes what is missing, measures it, and writes the results."""
    write(conf, measured(conf), Path(conf.out), lambda row: frames_of(conf, row["index"], row["variant"]))


def measured(conf: AblateConf) -> list[Row]:
    """A row of figures for every video: what is missing is made."""
    jobs = list(_jobs(conf))
    rows: list[Row] = []
    with tqdm(total=len(jobs), desc="prompts") as bar:
        for some in _done(conf, jobs):
            rows += some
            bar.update()
    return rows


def frames_of(conf: AblateConf, index: int, variant: str) -> Frames:
    """A video that was measured."""
    return load_frames(video_path(list(_jobs(conf))[index], variant))


def scenes_of(conf: AblateConf) -> list[Scene]:
    """What the prompts say: words that never stood together in training."""
    return held_out_scenes(conf.num_prompts)


def check(conf: AblateConf) -> None:
    """Raises ValueError for a bundle, a page, prompts or pipelines that will not do, before anything is made."""
    bundle_path(conf.bundle)
    around(Path(conf.out) / "ablations.md")
    if conf.prompts is None:
        held_out_scenes(conf.num_prompts)
    else:
        read_prompts(conf.prompts)
    for variant in conf.chosen:
        if variant.kind is Kind.DIFFUSERS:
            check_folder(variant.name, conf.diffusers.folder(variant.name) or "")


def _done(conf: AblateConf, jobs: Sequence[Job]) -> Iterator[list[Row]]:
    if conf.workers == 1:
        maker = Maker(conf)
        yield from (rows_of(job, maker) for job in jobs)
        return
    with ProcessPoolExecutor(conf.workers, get_context("spawn"), _one_thread) as pool:
        yield from pool.map(rows_of, jobs)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _jobs(conf: AblateConf) -> Iterator[Job]:
    asked: Sequence[tuple[str, Scene | None]]
    if conf.prompts is None:
        asked = [(scene.caption(), scene) for scene in held_out_scenes(conf.num_prompts)]
    else:
        asked = [(line, None) for line in read_prompts(conf.prompts)[: conf.num_prompts]]
    about = [hash_of(bundle_path(conf.bundle)), video_settings(conf), conf.num_frames]
    folder = Path(conf.work) / sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    for index, (prompt, scene) in enumerate(asked):
        spec = PromptSpec(f"{index}", prompt, num_frames=conf.num_frames, seed=conf.seed + index)
        yield Job(conf, index, spec, scene, folder)


def read_prompts(path: str) -> list[str]:
    """The lines of a text file that are not blank. Raises ValueError if there are none."""
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompts={path} cannot be read: {error}") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise ValueError(f"prompts={path} holds no prompt")
    return prompts


def rows_of(job: Job, maker: Maker | None = None) -> list[Row]:
    """The figures of every variant of a prompt: read where they are, made where they are not."""
    maker = maker or _maker(job.conf)
    return [_row(job, variant, maker) for variant in job.conf.chosen]


_makers: dict[AblateConf, Maker] = {}


def _maker(conf: AblateConf) -> Maker:
    """A worker loads its bundle once."""
    return _makers.setdefault(conf, Maker(conf))


def video_path(job: Job, variant: str) -> Path:
    """Where the video of a prompt lies; its name tells prompts and seeds apart."""
    about = [job.spec.prompt, job.spec.seed, job.conf.diffusers.folder(variant)]
    return job.folder / variant / f"{job.index:03d}-{sha256(json.dumps(about).encode()).hexdigest()[:8]}.npz"


def load_frames(path: Path) -> Frames:
    with np.load(path) as file:
        return np.asarray(file["frames"])


def _row(job: Job, variant: Variant, maker: Maker) -> Row:
    path, flow = video_path(job, variant.name), dis()
    place = path.with_suffix(f".{flow.name}-{job.conf.flow_size}.json")
    if place.exists():
        row: Row = json.loads(place.read_text())
        return row
    began = time.monotonic()
    made = _made(job, variant, maker)
    row = {"variant": variant.name, "index": job.index, "prompt": job.spec.prompt, "seed": job.spec.seed}
    about: dict[str, Any] = {"prompt": job.spec.prompt, "borders": made.borders, "clip": maker.clip}
    measured = measure(made.frames, float(job.conf.fps), flow, size=job.conf.flow_size, **about)
    row |= measured.values
    if job.scene is not None:
        row |= attributes(made.frames, job.scene)
    row["curve"] = [round(float(length), 4) for length in measured.curves["flow"]]
    _write(place, json.dumps(row).encode())
    seconds = time.monotonic() - began
    logger.info("video measured prompt=%d variant=%s seconds=%.1f", job.index, variant.name, seconds)
    return row


def _made(job: Job, variant: Variant, maker: Maker) -> Made:
    path, low = video_path(job, variant.name), video_path(job, "low")
    if not path.exists():
        if not low.exists():
            _write_video(low, Made(maker.low(job.spec), ()))
        _write_video(path, maker.make(variant, job.spec, load_frames(low)))
    with np.load(path) as file:
        return Made(file["frames"], tuple(map(int, file["borders"])))


def attributes(frames: Frames, scene: Scene) -> dict[str, bool]:
    """Whether the first and the last 16 frames show what the prompt says, by `longtake.models.toy_world.probe`."""
    readings = {end: asdict(probe(frames[piece])) for end, piece in ENDS.items()}
    return {f"{name}_{end}": readings[end][name] == getattr(scene, name) for end in ENDS for name in PROBED}


def _write_video(path: Path, made: Made) -> None:
    part = path.with_suffix(".part.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(part, frames=made.frames, borders=np.array(made.borders, int))
    part.replace(path)


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    part.replace(path)
