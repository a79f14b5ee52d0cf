"""Conf -> stages and runner: the one place where the parts are put together."""

import gc
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec, Settings
from longtake.models.domain.scheduler import StageName
from longtake.models.domain.span import Span
from longtake.models.domain.stage import Stage
from longtake.models.domain.state import Chunk, Clip
from longtake.models.stages.bundle import Bundle, load_bundle
from longtake.models.stages.files import (
    BASE_PARTS,
    REQUIRED,
    REQUIRED_OF_BASE,
    TEXT_TO_VIDEO,
    pipeline_class,
    refiner_names,
)
from longtake.models.stages.video_pipeline import VideoPipeline
from longtake.models.video.frame_checks import refuse_black
from longtake.models.video.reader import VideoReader
from longtake.pipelines.config.conf import Conf, bundle_folder, for_video, opener_folder, refiner_folder
from longtake.pipelines.runners.bundle_limits import limits_of, parts_of
from longtake.pipelines.runners.local import LocalRunner
from longtake.pipelines.runners.video_source import VideoSource


def quiet() -> None:
    """Silences progress bars, as loading takes seconds, and warnings about things that users cannot change."""
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.set_verbosity_error()


def build_bundle(conf: Conf, stage: StageName | None = None) -> Bundle:
    """The parts of `conf.bundle` for `stage`, or for both. Raises ValueError for a missing or broken bundle."""
    quiet()
    if conf.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch sees no GPU here; ask for one (ray.base.num_gpus=1), or set device=cpu")
    if conf.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: products of float32 on tensor cores (convolutions have it)

    refines = refiner_names(parts_of(conf)) if conf.refiner.enabled else []
    wanted = {StageName.GENERATE: BASE_PARTS, StageName.REFINE: refines, None: (*BASE_PARTS, *refines)}[stage]
    return _load(conf, wanted, opens=stage is not StageName.REFINE)


def build_texts(conf: Conf) -> Bundle:
    """The tokenizers alone, for checking prompts when other processes hold the networks."""
    quiet()
    return _load(conf, ("tokenizer", "refiner_tokenizer") if conf.refiner.enabled else ("tokenizer",))


def _load(conf: Conf, wanted: Collection[str], opens: bool = True) -> Bundle:
    """The wanted parts of the bundle, with its refiner from wherever it is, and of the opener of a video.

    Of an opener that is a pipeline, all or none are loaded.
    """
    to, pickles = (conf.device, getattr(torch, conf.dtype)), conf.allow_pickle
    required = REQUIRED if conf.refiner.enabled else REQUIRED_OF_BASE
    refiner = refiner_folder(conf)
    bundle = load_bundle(bundle_folder(conf), *to, wanted.__contains__, required, refiner, pickles)
    if conf.opener.model is None or not opens:
        return bundle
    folder = opener_folder(conf)
    if pipeline_class(folder) in TEXT_TO_VIDEO:
        own = [name for name in wanted if name in REQUIRED_OF_BASE]
        opener = load_bundle(folder, *to, own.__contains__, REQUIRED_OF_BASE, None, pickles, bundle)
        return replace(bundle, opener=opener)
    try:
        pipeline = VideoPipeline(folder)
        pipeline.check(conf.opener, conf.plan.chunk_frames)
        return replace(bundle, opener=pipeline.load(*to, pickles) if "unet" in wanted else pipeline)
    except ValueError as error:
        name = "" if str(error).startswith("opener.") else f"opener.model={conf.opener.model}: "
        raise ValueError(f"{name}{error}") from None


def build_generator(conf: Conf, bundle: Bundle) -> LocalRunner:
    """A runner that turns a prompt into a video."""
    stages: dict[StageName, Stage] = {
        StageName.GENERATE: bundle.base_model(conf.base, conf.opener),
        StageName.REFINE: bundle.refiner(conf.refiner),
    }
    return build_runner(conf, {name: LocalStage(stage, conf) for name, stage in stages.items()})


def build_enhancer(conf: Conf, bundle: Bundle, video: VideoReader) -> LocalRunner:
    """A runner that refines an existing video, which takes the place of the base model and may have black frames."""
    stages: dict[StageName, Stage] = {
        StageName.GENERATE: VideoSource(video),
        StageName.REFINE: bundle.refiner(conf.refiner),
    }
    return build_runner(conf, {name: LocalStage(stage, conf, may_be_black=True) for name, stage in stages.items()})


def build_runner(conf: Conf, stages: Mapping[StageName, Stage]) -> LocalRunner:
    """A runner of these stages with the settings of `conf`."""
    refiner = conf.refiner
    return LocalRunner(stages, conf.plan, refiner.num_steps, refiner.coupling, refiner.steps_per_task, conf.scheduler)


class LocalStage:
    """A stage in this process: it uses as many CPU threads as an actor would, and refuses to make black frames.

    oneDNN chooses the algorithm of a convolution, and so its last bits, by the number of threads: three-dimensional
    ones of the tiny bundle's sizes differed between one thread and two (two-dimensional ones, as now, do not).
    """

    def __init__(self, stage: Stage, conf: Conf, may_be_black: bool = False) -> None:
        self._stage, self._may_be_black = stage, may_be_black
        self._num_threads = conf.num_threads if conf.device == "cpu" else None

    def advance(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """As the stage's own. Raises BadFrames for black frames."""
        with _threads(self._num_threads):
            carry, output = self._stage.advance(*args, **kwargs)
        if not self._may_be_black and is_made(args):
            refuse_black(output)
        return carry, output


def is_made(args: Sequence[Any]) -> bool:
    """Whether the frames of a call are made by it: those of a clip exist, and may be black."""
    return not any(isinstance(arg, Clip) for arg in args)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class StageFactory:
    """Builds a stage in its actor; small enough to be sent to every actor."""

    conf: Conf
    stage: StageName

    def __call__(self) -> "BundleStage":
        if self.conf.device == "cpu":
            torch.set_num_threads(self.conf.num_threads)
        stage = BundleStage(self.conf, build_bundle(self.conf, self.stage), self.stage)
        gc.freeze()  # imported and loaded objects stay: the collector need not scan them again
        return stage


def stage_factories(conf: Conf) -> dict[str, StageFactory]:
    """The factories of the two pools."""
    return {"base": StageFactory(conf, StageName.GENERATE), "refiner": StageFactory(conf, StageName.REFINE)}


class BundleStage:
    """One stage of a bundle for many videos, with the settings of each."""

    def __init__(self, conf: Conf, bundle: Bundle, stage: StageName) -> None:
        self._conf, self._bundle, self._stage = conf, bundle, stage
        self._made: OrderedDict[Settings, Stage] = OrderedDict()

    def advance(self, spec: PromptSpec, *args: Any) -> tuple[Any, Any]:
        """As the stage's own. Raises ValueError for settings beyond the bundle's limits, BadFrames for black frames."""
        carry, output = self._for(spec.settings).advance(spec, *args)
        if is_made(args):
            refuse_black(output)
        return carry, output

    def warm_up(self) -> None:
        """Calls the stage once for a short video and drops the result."""
        plan, spec = Plan(1, self._conf.plan), PromptSpec("warm-up", "a")
        if self._stage is StageName.GENERATE:
            self._for(()).advance(spec, plan, 0, None)
        else:
            size = limits_of(self._conf).base_sizes.size(
                self._conf.base
            )  # the shape decides what is computed of a frame
            chunks = (Chunk(span, np.zeros((len(span), *size, 3), np.uint8)) for span in plan.chunks)
            self._for(()).advance(spec, plan, 0, Span(0, 1), None, *chunks)

    def _for(self, settings: Settings) -> Stage:
        if settings not in self._made:
            conf = for_video(self._conf, settings)
            generates = self._stage is StageName.GENERATE
            self._made[settings] = (
                self._bundle.base_model(conf.base, conf.opener) if generates else self._bundle.refiner(conf.refiner)
            )
            while len(self._made) > 8:  # kinds of settings that take turns; they share weights, not caches
                self._made.popitem(last=False)
        self._made.move_to_end(settings)
        return self._made[settings]
