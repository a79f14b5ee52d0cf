"""`longtake train`: gives a base model of your own a memory, CAM and APM, out of captioned videos; restart is resume.

    manifest ──► Ray Data: clips (pipelines/train/clips.py) ──► Ray Train: MemoryStage on 1..N workers ──► bundle out
                                                                    └── log, checkpoints, sheets, MLflow run

StreamingT2V (arXiv 2403.14773), sections 4 and 5.1. The base model stays as it is unless `memory.base_frozen=false`.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.nets.image import embed_images
from longtake.models.nets.latents import factor
from longtake.models.stages.base import BaseParams
from longtake.models.stages.bundle import CLASSES, Bundle, check_tensors, load_bundle, read_json
from longtake.models.training.captions import Captioner
from longtake.models.training.memory import MemoryParams, MemoryStage
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.loader import compose, flatten
from longtake.pipelines.config.paths import CONF
from longtake.pipelines.config.provenance import hash_of
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.runners.stages import bundle_path, quiet
from longtake.pipelines.tracking.tracker import TrackingParams
from longtake.pipelines.train.allocator import keep_freed_memory
from longtake.pipelines.train.bundle_files import halve
from longtake.pipelines.train.clips import NEEDED, ClipFolder, CutParams
from longtake.pipelines.train.loop import run_stage
from longtake.pipelines.train.progress import shown
from longtake.pipelines.train.run import first_weights, tracked
from longtake.pipelines.train.sheet import continuations
from longtake.pipelines.train.split import Cutting, prepare
from longtake.pipelines.train.worker_group import Team, run_team

logger = logging.getLogger(__name__)
BEGUN = "training.json"  # in `work`
# Settings of `longtake.models.training.memory` that speak of what a rendered scene alone is known to have.
WORLD_ONLY = ("clips", "beginnings", "text_dropout", "object_weight", "drift", "latent_noise")
CONFIG = CONF / "train.yaml"
MEMORIES = {"cam": ["longtake.models.nets.cam", "Cam"], "apm": ["longtake.models.nets.apm", "Apm"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConf:
    """`longtake train` takes all of them as key=value."""

    manifest: str  # captioned videos: a videofolder, a table with columns path and prompt, or a folder of a bulk job
    out: str  # the new bundle: a folder
    memory: MemoryParams
    bundle: str = "tiny"  # whose base model is given a memory; what CAM and APM it has is where training begins
    fresh: bool = False  # true: CAM and APM begin anew
    work: str = "runs/train"  # clips, checkpoints, log, sheets: a folder that all machines of the cluster see
    seed: int = 0
    held_out: float = 0.1  # of the videos, at least one: the gates look at them, and they are never trained on
    workers: int = 1  # of Ray Train: a CPU each, or with device=cuda a GPU
    device: str = "cpu"  # or cuda
    max_failures: int = 3  # so often all workers start again from the last checkpoint when one of them died
    clips: CutParams = field(default_factory=CutParams)
    base: BaseParams = field(default_factory=BaseParams)  # how the sheets are sampled
    ray: ClusterParams = field(default_factory=ClusterParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device={self.device} must be cpu or cuda")
        for name, least in (("workers", 1), ("max_failures", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be between 0 and 1")
        for one in fields(MemoryParams):
            value = getattr(self.memory, one.name)
            if one.name in WORLD_ONLY and value != one.default:
                raise ValueError(
                    f"memory.{one.name}={value} is for rendered scenes, and means nothing here: leave it out"
                )
        for name in ("work", "out"):
            if "://" in getattr(self, name):
                raise ValueError(f"{name}={getattr(self, name)} must be a folder that all machines see, not a URL")
        out = Path(self.out).resolve()
        if out == self.folder or out in self.folder.parents:
            raise ValueError(f"out={self.out} holds work={self.work}, and is replaced at the end: take another folder")

    @property
    def folder(self) -> Path:
        """`work`, wherever a process works."""
        return Path(self.work).resolve()


def load_train(path: str | Path = CONFIG, overrides: Any = ()) -> TrainConf:
    """The settings of a training. Raises ValueError naming key, value and rule."""
    return compose(TrainConf, path, overrides)


def check(conf: TrainConf) -> list[Listed]:
    """What is wrong is found before anything is started. The videos.

    Raises ValueError naming field, value and rule, also when `work` holds clips that were cut otherwise.
    """
    path = bundle_path(conf.bundle)
    index = read_json(path / "model_index.json", f"bundle={conf.bundle} is not a bundle")
    parts = load_bundle(path, wanted=lambda name: name in ("tokenizer", "scheduler"), required=NEEDED).parts
    NoiseSchedule.from_config(parts["scheduler"])
    for name in NEEDED:
        if index[name][1] in CLASSES:
            check_tensors(CLASSES[index[name][1]], path / name)
    if Path(conf.out).exists() and not (Path(conf.out) / "model_index.json").is_file():
        raise ValueError(f"out={conf.out} is there and is no bundle: it will not be replaced")
    if Path(conf.out).resolve() == path.resolve():
        raise ValueError(f"out={conf.out} is the bundle that is trained: take another folder")
    videos = list_videos(conf.manifest)
    if len(videos) < 2:
        raise ValueError(f"manifest={conf.manifest} has {len(videos)} video: one is held out, so it takes 2 at least")
    before, now = _begun(conf), _begun_by(conf)
    changed = [f"{key}={was} (now: {now.get(key)})" for key, was in before.items() if was != now.get(key)]
    if changed:
        raise ValueError(f"work={conf.work} holds a training that was begun otherwise: {'; '.join(changed)}")
    return videos


def _begun_by(conf: TrainConf) -> dict[str, Any]:
    """What clips and checkpoints depend on: a training that goes on has to have the same."""
    weights = {name: hash_of(bundle_path(conf.bundle) / name) for name in ("unet", "vae", "image_encoder")}
    shape = ("base_frozen", "image_tokens", "condition_channels", "merger_head_dim")
    own = {f"memory.{name}": flatten(conf.memory)[name] for name in shape}
    clips = {f"clips.{name}": value for name, value in flatten(conf.clips).items()}
    common = {name: getattr(conf, name) for name in ("manifest", "held_out", "fresh", "seed")}
    read: dict[str, Any] = json.loads(json.dumps({**common, **clips, **own, **weights}))  # as it will be read
    return read


def _begun(conf: TrainConf) -> dict[str, Any]:
    store = Store(conf.folder)
    known: dict[str, Any] = json.loads(store.get(BEGUN)) if store.exists(BEGUN) else {}
    return known


def run(conf: TrainConf, videos: Sequence[Listed]) -> None:
    """Cuts the clips that are not there yet, trains to the end, and writes the bundle."""
    conf = replace(conf, work=str(conf.folder))  # workers have another working directory
    Store(conf.folder).put(BEGUN, json.dumps(_begun_by(conf), indent=1).encode())
    may_grow = bool(conf.ray.address or os.environ.get("RAY_ADDRESS"))
    connect(conf.ray)
    bundle = str(bundle_path(conf.bundle).resolve())
    cutting = Cutting(conf.folder, bundle, conf.clips, conf.seed, conf.held_out, conf.device)
    train, held_out = prepare(cutting, videos)
    logger.info("clips of %d videos to learn from, of %d held out", len(train), len(held_out))
    work = partial(_train, conf, bundle, train, held_out)
    with shown(conf.folder / "memory" / "log.jsonl", conf.memory.loop.steps):
        run_team(conf.workers, conf.device, work, conf.folder, conf.max_failures, may_grow)
    _write(conf)


Files = list[tuple[Path, int]]  # and the number of clips in each


def _train(conf: TrainConf, bundle: str, train: Files, held_out: Files, team: Team) -> None:
    """What every worker of Ray Train does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    keep_freed_memory()
    quiet()
    unseen = ClipFolder(held_out)
    stage, loaded = memory_stage(conf, Path(bundle), ClipFolder(train), unseen)
    with tracked(conf.tracking, conf.folder, team, flatten(conf)) as tracker:

        def look(step: int) -> None:
            sheet = continuations(stage, loaded, unseen, conf.base, conf.seed)
            Store(conf.folder).put(f"sheets/step-{step:06d}.png", sheet)
            tracker.artifact(sheet, f"sheets/step-{step:06d}.png")

        run_stage("memory", stage, conf.folder / "memory", conf.device, team, tracker.metrics, look)
        if team.leads:
            for name, module in stage.modules.items():
                module.save_pretrained(conf.folder / "parts" / name)  # type: ignore[operator]
        team.wait()


def memory_stage(conf: TrainConf, path: Path, pool: ClipFolder, held_out: ClipFolder) -> tuple[MemoryStage, Bundle]:
    """The stage, and the bundle around it. CAM and APM are those of the bundle, or new ones that change nothing yet."""
    wanted = (*NEEDED, *MEMORIES)
    bundle = load_bundle(path, conf.device, wanted=lambda name: name in wanted, required=NEEDED)
    parts = bundle.parts
    side, halvings = factor(parts["vae"]), len(conf.memory.condition_channels) - 1
    new = conf.fresh or "cam" not in parts
    if new and 2**halvings != side:
        raise ValueError(
            f"memory.condition_channels={list(conf.memory.condition_channels)} makes frames {2**halvings} times "
            f"smaller, and latents are {side} times smaller: one number more halves them once more"
        )
    null_anchor = embed_images(parts["image_encoder"], torch.zeros(1, 3, side, side, device=conf.device)).cpu()
    captioner = Captioner(parts["tokenizer"], parts["text_encoder"])
    cam, apm = (None if conf.fresh else parts.get(name) for name in MEMORIES)
    about = (conf.memory, conf.seed, parts["unet"], captioner, null_anchor, pool, held_out)
    with first_weights(conf.seed, "memory"):
        stage = MemoryStage(*about, schedule=parts["scheduler"], cam=cam, apm=apm)
    return stage, bundle


def _write(conf: TrainConf) -> None:
    """The bundle with the trained parts, in float16, in the place of its own. `out` is replaced when it is whole."""
    out, new = Path(conf.out), Path(conf.out).with_name(f"{Path(conf.out).name}.part")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(bundle_path(conf.bundle), new)
    index = read_json(new / "model_index.json", f"bundle={conf.bundle} is not a bundle")
    for part in sorted((conf.folder / "parts").iterdir()):
        shutil.rmtree(new / part.name, ignore_errors=True)
        (new / part.name).mkdir()
        halve(part, new / part.name)
        index[part.name] = MEMORIES.get(part.name, index.get(part.name))
    (new / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)
