"""Checks of a training before anything is started: the cheap ones first, and none of them imports Ray."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.stages.files import read_parts
from longtake.models.stages.part_checks import part_problems, wrong_base
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.config.provenance import hash_of
from longtake.pipelines.datasets.video_list import VideoList, list_videos
from longtake.pipelines.files.store import Store, refuse_ray_copy
from longtake.pipelines.runners.bundle_limits import base_limits
from longtake.pipelines.train.settings import NEEDED, TrainConf
from longtake.pipelines.train.split import check_same

BEGUN = "training.json"  # in `work`
MEMORIES = ("cam", "apm")  # parts of a bundle
# Fields of `memory` that may change: the length of a training, and what is measured and saved along the way.
FREE = ("loop.steps", "loop.gate_every", "loop.checkpoint_s", "held_out")


@dataclass(frozen=True, slots=True)
class PreparedTraining:
    """A training that has been checked and can run."""

    conf: TrainConf
    videos: VideoList


def check(conf: TrainConf) -> PreparedTraining:
    """Raises ValueError naming field, value and rule, also when `work` holds a training with other settings."""
    path = bundle_path(conf.bundle, conf.allow_pickle)
    parts = read_parts(path, None, NEEDED)
    used = {name: part for name, part in parts.items() if name in (*NEEDED, *_started_from(conf))}
    if problems := dict.fromkeys([*part_problems(used, conf.allow_pickle), *wrong_base(parts["unet"])]):
        raise ValueError(f"bundle={conf.bundle}: {'; '.join(problems)}")
    NoiseSchedule.from_config(parts["scheduler"].config())
    base_limits(parts).size(conf.base)
    for name in ("out", "work"):
        refuse_ray_copy(name, Path(getattr(conf, name)))
    if Path(conf.out).exists() and not (Path(conf.out) / "model_index.json").is_file():
        raise ValueError(f"out={conf.out} exists and is not a bundle: it will not be replaced")
    if Path(conf.out).resolve() == path.resolve():
        raise ValueError(f"out={conf.out} is the bundle being trained: choose another folder")
    videos = list_videos(conf.manifest)
    if len(videos) < 2:
        raise ValueError(f"manifest={conf.manifest} has {len(videos)} video: at least 2 are needed, as one is held out")
    before, now = _begun(conf), _begun_by(conf)
    changed = [f"{key}={was} (now: {now.get(key)})" for key, was in before.items() if was != now.get(key)]
    if changed:
        raise ValueError(f"work={conf.work} holds a training with other settings: {'; '.join(changed)}")
    check_same(conf.folder, videos)
    # After everything cheaper: torch and transformers take seconds.
    from longtake.models.stages.bundle import CLASSES, check_tensors, load_bundle

    load_bundle(path, keep=lambda name: name == "tokenizer", required=NEEDED)
    for name in NEEDED:
        if parts[name].class_name in CLASSES:
            check_tensors(parts[name], conf.allow_pickle)
    return PreparedTraining(conf, videos)


def record_begin(conf: TrainConf) -> None:
    """Writes the settings that clips and checkpoints depend on to `work`."""
    Store(conf.folder).put(BEGUN, json.dumps(_begun_by(conf), indent=1).encode())


def _begun_by(conf: TrainConf) -> dict[str, Any]:
    """The settings that clips, checkpoints and the bundle depend on: a restart must have the same ones."""
    folder = bundle_path(conf.bundle, conf.allow_pickle)
    weights = {name: hash_of(folder / name) for name in (*NEEDED, *_started_from(conf))}
    own = {f"memory.{name}": value for name, value in flatten(conf.memory).items() if name not in FREE}
    clips = {f"clips.{name}": value for name, value in flatten(conf.clips).items()}
    common = {name: getattr(conf, name) for name in ("manifest", "held_out", "fresh", "seed")}
    size = {"base.height": conf.base.height, "base.width": conf.base.width}
    read: dict[str, Any] = json.loads(json.dumps({**common, **size, **clips, **own, **weights}))  # as it will be read
    return read


def _started_from(conf: TrainConf) -> tuple[str, ...]:
    """The parts that are trained from where they are, if the bundle has them."""
    return () if conf.fresh else MEMORIES


def _begun(conf: TrainConf) -> dict[str, Any]:
    store = Store(conf.folder)
    known: dict[str, Any] = json.loads(store.get(BEGUN)) if store.exists(BEGUN) else {}
    return known
