"""`longtake train`: trains a memory, CAM and APM, for a base model on captioned videos; a restart resumes.

    manifest ──► Ray Data: clips (pipelines/train/clips.py) ──► Ray Train: MemoryStage on 1..N workers ──► bundle out
                                                                    └── log, checkpoints, sheets, MLflow run

StreamingT2V (arXiv 2403.14773), sections 4 and 5.1. The base model stays unchanged unless `memory.base_frozen=false`.
"""

import json
import logging
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from longtake.models.nets.image import embed_images
from longtake.models.nets.latents import factor
from longtake.models.stages.bundle import Bundle, load_bundle
from longtake.models.stages.files import read_json
from longtake.models.training.captions import Captioner
from longtake.models.training.memory import MemoryStage
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.runners.stages import quiet
from longtake.pipelines.terminal.progress import doing
from longtake.pipelines.train.allocator import keep_freed_memory
from longtake.pipelines.train.bundle_files import copy_as_float16, record_training
from longtake.pipelines.train.checks import PreparedTraining, record_begin
from longtake.pipelines.train.clips import ClipFolder
from longtake.pipelines.train.loop import run_stage
from longtake.pipelines.train.progress import watched
from longtake.pipelines.train.run import first_weights, tracked
from longtake.pipelines.train.settings import NEEDED, Cutting, TrainConf
from longtake.pipelines.train.sheet import continuations
from longtake.pipelines.train.split import VIDEOS, prepare
from longtake.pipelines.train.worker_group import WorkerGroup, run_group

logger = logging.getLogger(__name__)
MEMORIES = {"cam": ["longtake.models.nets.cam", "Cam"], "apm": ["longtake.models.nets.apm", "Apm"]}


def run(prepared: PreparedTraining) -> str:
    """Cuts the missing clips, trains to the end and writes the bundle. Returns a line on its origin and its place."""
    conf = replace(prepared.conf, work=str(prepared.conf.folder))  # workers have another working directory
    record_begin(conf)
    may_grow = bool(conf.ray.address or os.environ.get("RAY_ADDRESS"))
    for note in prepared.videos.notes:
        logger.info("%s", note)
    connect(conf.ray)
    bundle = str(bundle_path(conf.bundle, conf.allow_pickle).resolve())
    about = (conf.clips, conf.seed, conf.held_out, conf.device, conf.base, conf.allow_pickle)
    cutting = Cutting(conf.folder, bundle, *about)
    train, held_out = prepare(cutting, prepared.videos)
    logger.info("training on the clips of %d videos; %d are held out", len(train), len(held_out))
    work = partial(_train, conf, bundle, train, held_out)
    with watched(conf.folder / "memory" / "log.jsonl", conf.memory.loop.steps):
        run_group(conf.workers, conf.device, work, conf.folder, conf.max_failures, may_grow)
    with doing("writing the bundle"):
        _write(conf, f"longtake train: {conf.memory.loop.steps} steps on the clips of {len(train)} videos")
    without = len(prepared.videos) - len(train) - len(held_out)
    missing = f"; {without} gave no clips, see {conf.folder / VIDEOS} for the reasons" if without else ""
    return (
        f"{conf.out}: bundle trained on the clips of {len(train)} videos, {len(held_out)} held out{missing}; "
        f"the log and sheets are in {conf.folder}"
    )


Files = list[tuple[Path, int]]  # and the number of clips in each


def _train(conf: TrainConf, bundle: str, train: Files, held_out: Files, group: WorkerGroup) -> None:
    """The work of every worker of Ray Train."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    keep_freed_memory()
    quiet()
    unseen = ClipFolder(held_out)
    stage, loaded = memory_stage(conf, Path(bundle), ClipFolder(train), unseen)
    with tracked(conf.tracking, conf.folder, group, flatten(conf)) as tracker:

        def look(step: int) -> None:
            sheet = continuations(stage, loaded, unseen, conf.base, conf.seed)
            Store(conf.folder).put(f"sheets/step-{step:06d}.png", sheet)
            tracker.artifact(sheet, f"sheets/step-{step:06d}.png")

        run_stage("memory", stage, conf.folder / "memory", conf.device, group, tracker.metrics, look)
        if group.leads:
            for name, module in stage.modules.items():
                module.save_pretrained(conf.folder / "parts" / name)  # type: ignore[operator]
        group.wait()


def memory_stage(conf: TrainConf, path: Path, pool: ClipFolder, held_out: ClipFolder) -> tuple[MemoryStage, Bundle]:
    """The stage, and the bundle around it. CAM and APM are those of the bundle, or new ones without influence yet."""
    wanted = (*NEEDED, *MEMORIES)
    pickles = conf.allow_pickle
    bundle = load_bundle(path, conf.device, keep=wanted.__contains__, required=NEEDED, allow_pickle=pickles)
    parts = bundle.parts
    side, halvings = factor(parts["vae"]), len(conf.memory.condition_channels) - 1
    new = conf.fresh or "cam" not in parts
    if new and 2**halvings != side:
        raise ValueError(
            f"memory.condition_channels={list(conf.memory.condition_channels)} makes frames {2**halvings} times "
            f"smaller, and latents are {side} times smaller: one more number halves them once more"
        )
    null_anchor = embed_images(parts["image_encoder"], torch.zeros(1, 3, side, side, device=conf.device)).cpu()
    captioner = Captioner(parts["tokenizer"], parts["text_encoder"])
    cam, apm = (None if conf.fresh else parts.get(name) for name in MEMORIES)
    about = (conf.memory, conf.seed, parts["unet"], captioner, null_anchor, pool, held_out)
    with first_weights(conf.seed, "memory"):
        stage = MemoryStage(*about, schedule=parts["scheduler"], cam=cam, apm=apm)
    return stage, bundle


def _write(conf: TrainConf, about: str) -> None:
    """Writes the bundle with the trained parts in float16. `out` is replaced when the new bundle is complete.

    `about` is the training in words.
    """
    out, new = Path(conf.out), Path(conf.out).with_name(f"{Path(conf.out).name}.part")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(bundle_path(conf.bundle, conf.allow_pickle), new)
    index = read_json(new / "model_index.json", f"bundle={conf.bundle} is not a bundle")
    parts = sorted((conf.folder / "parts").iterdir())
    names = [part.name for part in parts]
    anew = [name for name in names if name not in index or (conf.fresh and name in MEMORIES)]
    record_training(new, names, anew, about)
    for part in parts:
        shutil.rmtree(new / part.name, ignore_errors=True)
        (new / part.name).mkdir()
        copy_as_float16(part, new / part.name)
        index[part.name] = MEMORIES.get(part.name, index.get(part.name))
    (new / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)
