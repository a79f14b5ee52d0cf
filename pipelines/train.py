"""`longtake train`: gives a base model of your own a memory, CAM and APM, out of captioned videos; restart is resume.

    manifest ──► Ray Data: clips (pipelines/train_clips.py) ──► Ray Train: MemoryStage on 1..N workers ──► bundle out
                                                                    └── log, checkpoints, sheets, MLflow run

StreamingT2V (arXiv 2403.14773), sections 4 and 5.1. The base model stays as it is unless `memory.base_frozen=false`.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from models.bundle import Bundle, load_bundle, read_json
from models.nets.image import embed_images
from models.nets.latents import factor
from models.training.captions import Captioner
from models.training.memory import MemoryParams, MemoryStage
from pipelines.allocator import keep_freed_memory
from pipelines.build import bundle_path, quiet
from pipelines.bulk_params import hash_of
from pipelines.cluster import connect
from pipelines.cluster_params import ClusterParams
from pipelines.compose import compose, flatten
from pipelines.pack import halve
from pipelines.team import Team, run_team
from pipelines.tracking import Tracker, TrackingParams, open_tracker
from pipelines.train_clips import ENCODER_PARTS, ClipFolder, ClipParams, clip_file, encode_clips
from pipelines.train_progress import shown
from pipelines.train_sheet import continuations
from pipelines.training_loop import run_stage
from pipelines.video_list import Listed, list_videos

logger = logging.getLogger(__name__)
BEGUN = "training.json"  # in `work`
CONFIG = Path(__file__).parent.parent / "conf" / "train.yaml"
MEMORIES = {"cam": ["models.nets.cam", "Cam"], "apm": ["models.nets.apm", "Apm"]}


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
    clips: ClipParams = field(default_factory=ClipParams)
    ray: ClusterParams = field(default_factory=ClusterParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device={self.device} must be cpu or cuda")
        for name, least in (("workers", 1), ("max_failures", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be between 0 and 1")
        if self.memory.beginnings:
            raise ValueError(f"memory.beginnings={self.memory.beginnings} must be 0: the base model's own training")

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
    missing = [name for name in (*ENCODER_PARTS, "scheduler") if name not in index]
    if missing:
        raise ValueError(f"bundle={conf.bundle} has no {', '.join(missing)}: training needs it")
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
    about = {**clips, **own, **weights, "fresh": conf.fresh, "seed": conf.seed}
    read: dict[str, Any] = json.loads(json.dumps(about))  # as it will be read: a tuple is a list then
    return read


def _begun(conf: TrainConf) -> dict[str, Any]:
    place = conf.folder / BEGUN
    known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    return known


def run(conf: TrainConf, videos: list[Listed]) -> None:
    """Cuts the clips that are not there yet, trains to the end, and writes the bundle."""
    conf = replace(conf, work=str(conf.folder))  # workers have another working directory
    connect(conf.ray)
    _check_room(conf)
    train, held_out = prepare(conf, videos)
    logger.info("clips of %d videos to learn from, of %d held out", len(train), len(held_out))
    work = partial(_train, conf, str(bundle_path(conf.bundle).resolve()), train, held_out)
    with shown(conf.folder / "memory" / "log.jsonl", conf.memory.loop.steps):
        run_team(conf.workers, conf.device, work, conf.folder, conf.max_failures)
    _write(conf)


def _check_room(conf: TrainConf) -> None:
    """Ray Train would wait for ever. A cluster that was named may grow: there it is a warning."""
    import ray

    kind = "GPU" if conf.device == "cuda" else "CPU"
    there = ray.cluster_resources().get(kind, 0.0)  # type: ignore[no-untyped-call]
    if there < conf.workers:
        text = f"workers={conf.workers} take a {kind} each, and the cluster has {there:g}"
        if conf.ray.address is None:
            raise ValueError(text)
        logger.warning("%s; waiting for it to grow", text)


def prepare(conf: TrainConf, videos: list[Listed]) -> tuple[list[Path], list[Path]]:
    """The files of clips to learn from, and of those held out; what is missing is made.

    Raises ValueError when too few videos give clips, with a reason of one that does not.
    """
    folder = conf.folder / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    (conf.folder / BEGUN).write_text(json.dumps(_begun_by(conf), indent=1))
    missing = [video for video in videos if not clip_file(folder, video.path).exists()]
    reason = ""
    if missing:
        bundle = str(bundle_path(conf.bundle).resolve())
        done = encode_clips(missing, bundle, folder, conf.clips, conf.seed, conf.device)
        for row in tqdm(done, total=len(missing), desc="videos", unit="video", disable=None):
            if row["reason"]:
                reason = f"{row['path']}: {row['reason']}"
                logger.warning("no clips of %s", reason)
    ready = [video for video in videos if clip_file(folder, video.path).exists()]
    if len(ready) < 2:
        raise ValueError(f"manifest={conf.manifest}: clips of {len(ready)} videos, 2 are needed at least; {reason}")
    # By name, not by order: a video that is added later does not send others to the other side.
    ranked = sorted(ready, key=lambda video: hashlib.sha256(f"{conf.seed}/{video.path}".encode()).digest())
    count = max(1, round(conf.held_out * len(ranked)))
    held_out, train = ([clip_file(folder, video.path) for video in some] for some in (ranked[:count], ranked[count:]))
    return train, held_out


def _train(conf: TrainConf, bundle: str, train: list[Path], held_out: list[Path], team: Team) -> None:
    """What every worker of Ray Train does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    keep_freed_memory()
    quiet()
    stage, loaded = memory_stage(conf, Path(bundle), ClipFolder(train), ClipFolder(held_out))
    with _tracked(conf, team) as tracker:

        def look(step: int) -> None:
            sheet = continuations(stage, loaded, ClipFolder(held_out), conf.seed)
            place = conf.folder / "sheets" / f"step-{step:06d}.png"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(sheet)
            tracker.artifact(sheet, f"sheets/{place.name}")

        run_stage("memory", stage, conf.folder / "memory", conf.device, team, tracker.metrics, look)
        if team.leads:
            for name, module in stage.modules.items():
                if name != "unet" or not conf.memory.base_frozen:
                    module.save_pretrained(conf.folder / "parts" / name)  # type: ignore[operator]
        team.wait()


def memory_stage(conf: TrainConf, path: Path, pool: ClipFolder, held_out: ClipFolder) -> tuple[MemoryStage, Bundle]:
    """The stage, and the bundle around it. CAM and APM are those of the bundle, or new ones that change nothing yet."""
    bundle = load_bundle(path, conf.device, wanted=lambda name: not name.startswith("refiner"))
    parts = bundle.parts
    side = factor(parts["vae"])
    null_anchor = embed_images(parts["image_encoder"], torch.zeros(1, 3, side, side, device=conf.device)).cpu()
    captioner = Captioner(parts["tokenizer"], parts["text_encoder"])
    torch.manual_seed(conf.seed)  # new networks: the same in every worker
    cam, apm = (None if conf.fresh else parts.get(name) for name in MEMORIES)
    stage = MemoryStage(
        conf.memory,
        conf.seed,
        parts["unet"],
        captioner,
        null_anchor,
        pool,
        held_out,
        schedule=parts["scheduler"],
        cam=cam,
        apm=apm,
    )
    return stage, bundle


@contextmanager
def _tracked(conf: TrainConf, team: Team) -> Iterator[Tracker]:
    """The MLflow run of this work folder: a training that was interrupted goes on with the same one."""
    known = conf.folder / "tracking.json"
    key = json.loads(known.read_text())["run"] if known.exists() else None
    params = conf.tracking if team.leads else replace(conf.tracking, enabled=False)
    with open_tracker(params, conf.folder, "train", key) as tracker:
        if team.leads:
            known.write_text(json.dumps({"run": tracker.key}))
        tracker.params({name: value for name, value in flatten(conf).items() if not name.startswith("tracking.")})
        yield tracker


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
