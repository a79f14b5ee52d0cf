"""`make weights`: the training of the shipped weights, stage after stage, each from its last checkpoint.

    vae -> clip -> base -> memory (CAM and APM) -> refiner -> decoder -> pack

A finished stage has its parts in float32 in `work`/bundle; `pack` writes the float16 bundle to `out`.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection, PreTrainedTokenizerFast

from longtake.models.nets.image import embed_images
from longtake.models.toy_world.base_stage import CLIP_FRAMES, BaseStage, BaseTrainParams
from longtake.models.toy_world.clip_pool import ClipPool, encode_pool, pool_scenes
from longtake.models.toy_world.clip_stage import ClipParams, ClipStage
from longtake.models.toy_world.memory_pools import BeginningPool, MemoryPool, ToyMemoryParams, decode_memories
from longtake.models.toy_world.refiner_stage import CLIP_FRAMES as WINDOW_FRAMES
from longtake.models.toy_world.refiner_stage import RefinerStage, RefinerTrainParams, given_latents
from longtake.models.toy_world.vae_stage import DecoderStage, VaeParams, VaeStage
from longtake.models.training.captions import Captioner
from longtake.models.training.memories import CLIP_FRAMES as MEMORY_FRAMES
from longtake.models.training.memories import TARGET
from longtake.models.training.memory import MemoryStage
from longtake.models.training.stage import TrainStage
from longtake.pipelines.ablation.prompts import held_out_captions
from longtake.pipelines.config.cluster import ClusterParams
from longtake.pipelines.config.loader import compose, flatten
from longtake.pipelines.config.paths import CONF
from longtake.pipelines.dev.tiny_bundle import pack
from longtake.pipelines.runners.ray_cluster import connect
from longtake.pipelines.tracking.settings import TrackingParams
from longtake.pipelines.train.allocator import keep_freed_memory
from longtake.pipelines.train.loop import Report, autocast, run_stage
from longtake.pipelines.train.run import first_weights, tracked
from longtake.pipelines.train.worker_group import WorkerGroup, run_group

logger = logging.getLogger(__name__)
CONFIG = CONF / "tiny_training.yaml"


@dataclass(frozen=True, slots=True)
class TinyTrainingConf:
    """conf/tiny_training.yaml."""

    vae: VaeParams
    clip: ClipParams
    base: BaseTrainParams
    memory: ToyMemoryParams
    refiner: RefinerTrainParams
    decoder: VaeParams
    seed: int = 0
    work: str = "runs/tiny"
    out: str = "models/bundles/tiny"
    start: str | None = None  # a bundle to continue from: its parts replace those not made yet
    device: str = "cpu"  # or cuda
    tracking: TrackingParams = field(default_factory=TrackingParams)
    workers: int = 1  # processes that train a stage together, on Ray Train; on GPUs, one each
    threads: int = 1  # of each worker
    close_share: float = 0.0  # of all pools' clips, held-out ones too: over one of the two backgrounds that are closest

    def __post_init__(self) -> None:
        if not 0 <= self.close_share <= 1:
            raise ValueError(f"close_share={self.close_share} must be in 0..1")


def train(config_path: str | Path, overrides: Sequence[str], stages: Sequence[str] | None) -> None:
    """Runs the named stages (all of them by default). Raises ValueError for an unknown stage."""
    unknown = set(stages or ()) - set(STAGES)
    if unknown:
        raise ValueError(f"stages={','.join(sorted(unknown))} must be among {', '.join(STAGES)}")
    conf = compose(TinyTrainingConf, config_path, overrides)
    work_, out, start = (path and str(Path(path).resolve()) for path in (conf.work, conf.out, conf.start))
    conf = replace(conf, work=work_ or "", out=out or "", start=start)  # workers have another working directory
    work = partial(_run_stages, conf, list(STAGES if stages is None else stages))
    if conf.workers == 1:
        work(WorkerGroup())
        return
    connect(ClusterParams())
    run_group(conf.workers, conf.device, work, Path(conf.work))


def _run_stages(conf: TinyTrainingConf, names: Sequence[str], group: WorkerGroup) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")  # spawned workers start without it
    torch.set_num_threads(conf.threads)
    keep_freed_memory()
    Path(conf.work).mkdir(parents=True, exist_ok=True)
    with tracked(conf.tracking, Path(conf.work), group, flatten(conf)) as tracker:
        tracker.tags({"stages": ",".join(names)})
        builder = WeightsBuilder(conf, group, tracker.metrics)
        for name in names:
            logger.info("stage begins name=%s worker=%d", name, group.worker)
            with first_weights(conf.seed, name):
                STAGES[name](builder)
            group.wait()


class WeightsBuilder:
    """The parts made so far, and the stages that need them."""

    def __init__(self, conf: TinyTrainingConf, group: WorkerGroup, report: Report | None = None) -> None:
        self.conf, self.seed, self.group, self.report = conf, conf.seed, group, report
        self.device = conf.device
        self.work = Path(conf.work)
        self.bundle = self.work / "bundle"

    def vae(self) -> None:
        self._run("vae", VaeStage(self.conf.vae, self.seed))

    def clip(self) -> None:
        stage = ClipStage(self.conf.clip, self.seed)
        self._run("clip", stage, skip=("word_heads", "image_heads", "shade_head"))
        if self.group.leads:
            stage.tokenizer.save_pretrained(self.bundle / "tokenizer")

    def base(self) -> None:
        clips = self.conf.base.clips
        pool = self._pool("base", clips, CLIP_FRAMES, 64)
        held_out = self._pool("held-out-base", self.conf.base.held_out, CLIP_FRAMES, 64)
        self._run("base", BaseStage(self.conf.base, self.seed, self._captioner(), pool, held_out))

    def memory(self) -> None:
        image_encoder = self._part(CLIPVisionModelWithProjection, "image_encoder")
        null_anchor = embed_images(image_encoder, torch.zeros(1, 3, 64, 64)).detach().cpu()
        pool = self._memory_pool("memory", self.conf.memory.clips)
        held_out = self._memory_pool("held-out-memory", self.conf.memory.held_out)
        unet = self._part(UNet3DConditionModel, "base")
        params = self.conf.memory
        clips = self._pool("base", self.conf.base.clips, CLIP_FRAMES, 64)
        about = (params, self.seed, unet, self._captioner(), null_anchor, pool, held_out)
        beginnings = BeginningPool(clips, params.text_dropout, params.object_weight)
        self._run("memory", MemoryStage(*about, beginnings, params.beginnings))

    def refiner(self) -> None:
        params = self.conf.refiner
        names = ("refiner", "held-out-refiner")
        pool, held_out = (
            self._pool(name, clips, WINDOW_FRAMES, 128, latest=64)
            for name, clips in zip(names, (params.clips, params.held_out), strict=True)
        )
        given, held_out_given = (self._given(name, some) for name, some in zip(names, (pool, held_out), strict=True))
        stage = RefinerStage(params, self.seed, self._captioner(), pool, held_out, given, held_out_given)
        self._run("refiner", stage)

    def _given(self, purpose: str, pool: ClipPool) -> Tensor | None:
        params = self.conf.refiner
        if not params.given:
            return None

        def make() -> dict[str, Tensor]:
            vae = self._part(AutoencoderKL, "vae").to(memory_format=torch.channels_last)
            return {"latents": given_latents(vae, pool.scenes, pool.first, self.seed, 128, params.latent_noise)}

        return self._cached(f"{purpose}-{len(pool)}-given", make)["latents"]

    def decoder(self) -> None:
        self._run("decoder", DecoderStage(self.conf.decoder, self.seed, self._part(AutoencoderKL, "vae")))

    def pack(self) -> None:
        if self.group.leads:
            pack(self.bundle, Path(self.conf.out), Path(self.conf.start) if self.conf.start else None)

    def _run(self, name: str, stage: TrainStage, skip: Sequence[str] = ()) -> None:
        for folder, module in stage.modules.items():
            trained = self.bundle / ("base" if folder == "unet" else folder)  # `memory` continues from the base
            if not trained.is_dir() and self._start(folder) is not None:
                self._load(module, folder)
        run_stage(name, stage, self.work / name, self.device, self.group, self.report)
        for folder, module in stage.modules.items():
            if self.group.leads and folder not in skip:
                module.save_pretrained(self.bundle / folder)  # type: ignore[operator]

    def _start(self, folder: str) -> Path | None:
        """The folder of that part in `start`; the base model is the UNet of a bundle."""
        path = Path(self.conf.start or "") / ("unet" if folder == "base" else folder)
        return path if self.conf.start and path.is_dir() else None

    def _load(self, module: Any, folder: str) -> None:
        """The weights of `start` into a stage's module. Raises ValueError if they are of another shape."""
        start = self._start(folder)
        assert start is not None
        (file,) = start.glob("*.safetensors")
        try:
            module.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
        except RuntimeError as error:
            raise ValueError(f"start={file} does not fit the configured {folder}: {error}") from None

    def _part(self, cls: Any, folder: str) -> Any:
        trained = self.bundle / folder
        path = trained if trained.is_dir() else self._start(folder)
        if path is None:
            raise ValueError(f"{trained} is missing: run the stage that makes it first, or name a bundle as start=PATH")
        return cls.from_pretrained(path, dtype=torch.float32).eval().requires_grad_(False).to(self.device)

    def _captioner(self) -> Captioner:
        trained = self.bundle / "tokenizer"
        tokenizer = PreTrainedTokenizerFast.from_pretrained(trained if trained.is_dir() else self._start("tokenizer"))
        encoder = self._part(CLIPTextModelWithProjection, "text_encoder")
        encoder.set_attn_implementation("eager")
        return Captioner(tokenizer, encoder)

    def _pool(self, purpose: str, clips: int, num_frames: int, size: int, latest: int = 0) -> ClipPool:
        spared = frozenset(held_out_captions())
        scenes, first = pool_scenes(self.seed, purpose, clips, latest, spared, self.conf.close_share)

        def encode() -> dict[str, Tensor]:
            vae = self._part(AutoencoderKL, "vae").to(memory_format=torch.channels_last)
            return {"latents": encode_pool(vae, scenes, first, num_frames, size)}

        return ClipPool(scenes, first, self._cached(f"{purpose}-{clips}", encode)["latents"])

    def _memory_pool(self, purpose: str, clips: int) -> MemoryPool:
        pool = self._pool(purpose, clips, MEMORY_FRAMES, 64, latest=48)

        def decode() -> dict[str, Tensor]:
            vae, images = self._part(AutoencoderKL, "vae"), self._part(CLIPVisionModelWithProjection, "image_encoder")
            params = self.conf.memory
            seen, anchor = decode_memories(vae, images, pool, self.seed, params.latent_noise, params.drift)
            return {"condition": torch.from_numpy(seen), "anchor": anchor}

        memories = self._cached(f"{purpose}-{clips}-decoded", decode)
        short = ClipPool(pool.scenes, pool.first, pool.latents[:, TARGET].contiguous())
        return MemoryPool(short, memories["condition"].numpy(), memories["anchor"], self.conf.memory.object_weight)

    def _cached(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Made once: a pool takes minutes, and a stage may be resumed often. Other settings have other pools."""
        conf = self.conf
        about = [conf.seed, conf.close_share, conf.memory.latent_noise, conf.memory.drift, conf.refiner.latent_noise]
        path = self.work / "pools" / f"{name}-{sha256(json.dumps(about).encode()).hexdigest()[:8]}.safetensors"
        if self.group.leads and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with autocast(self.conf.device):
                save_file(make(), path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        self.group.wait()
        return load_file(path)


STAGES: dict[str, Callable[[WeightsBuilder], None]] = {
    "vae": WeightsBuilder.vae,
    "clip": WeightsBuilder.clip,
    "base": WeightsBuilder.base,
    "memory": WeightsBuilder.memory,
    "refiner": WeightsBuilder.refiner,
    "decoder": WeightsBuilder.decoder,
    "pack": WeightsBuilder.pack,
}


def main(words: Sequence[str]) -> None:
    """`python -m longtake.pipelines.dev.tiny_training [stages=A,B] [key=value ...]`."""
    stages = [word.removeprefix("stages=").split(",") for word in words if word.startswith("stages=")]
    overrides = [word for word in words if not word.startswith("stages=")]
    train(CONFIG, overrides, stages[-1] if stages else None)


if __name__ == "__main__":
    main(sys.argv[1:])
