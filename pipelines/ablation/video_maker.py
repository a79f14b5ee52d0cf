"""Makes the videos that are compared. Shapes: t frames, h w rows and columns."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from longtake.models.baselines.added import added
from longtake.models.baselines.co_denoising import co_denoising
from longtake.models.baselines.free_noise import free_noise
from longtake.models.baselines.last_frame import borders as last_frame_borders
from longtake.models.baselines.last_frame import last_frame
from longtake.models.baselines.text import Baseline, TextModel
from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.scheduler import StageName
from longtake.models.domain.stage import Stage
from longtake.models.domain.state import Chunk
from longtake.models.metrics.clip import Clip
from longtake.models.stages.bundle import Bundle
from longtake.pipelines.ablation.image_to_video import continued, load_pipeline
from longtake.pipelines.ablation.settings import VARIANTS, AblateConf, Kind, Variant
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.runners.stages import build_bundle, build_runner

Frames = UInt8[np.ndarray, "t h w 3"]
BASELINES: dict[str, Baseline] = {"free-noise": free_noise, "co-denoising": co_denoising, "last-frame": last_frame}


@dataclass(frozen=True, eq=False)
class MadeVideo:
    """A video, and the frames at which its pieces begin: none for a method without pieces."""

    frames: Frames
    borders: tuple[int, ...]


class RecordedChunks:
    """A stage that returns the chunks of an existing low-resolution video."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def advance(self, spec: PromptSpec, plan: Plan, index: int, memory: None, /) -> tuple[None, Chunk]:
        span = plan.chunks[index]
        return None, Chunk(span, self._frames[span.frames])


class VideoMaker:
    """Makes videos with one bundle, which is loaded when it is first needed."""

    def __init__(self, conf: AblateConf) -> None:
        self._conf = conf

    @cached_property
    def bundle(self) -> Bundle:
        return build_bundle(self._conf)

    @cached_property
    def clip(self) -> Clip | None:
        """The bundle's own CLIP, if its encoders project into a common space."""
        image, text = self.bundle.parts.get("image_encoder"), self.bundle.parts["text_encoder"]
        if image is None or not hasattr(text, "text_projection"):
            return None
        return Clip(image, text, self.bundle.parts["tokenizer"])

    def make(self, variant: Variant, spec: PromptSpec, full: Frames) -> MadeVideo:
        """The video of a variant; `full` is the low-resolution video of this spec, from `low`."""
        conf = for_video(self._conf, variant.settings)
        plan = Plan(spec.num_frames, conf.plan)
        if variant.kind is Kind.REFINED:
            return MadeVideo(
                refined_frames(self.bundle, conf, spec, full), tuple(span.start for span in plan.segments[1:])
            )
        if variant.kind is Kind.BASELINE:
            return self._baseline(variant, spec)
        if variant.kind is Kind.DIFFUSERS:
            return self._continued(variant, spec, full)
        inside = tuple(span.start for span in plan.chunks[1:] if span.start < spec.num_frames)
        if variant.name == "full":
            return MadeVideo(full[: spec.num_frames], inside)
        bundle = self.bundle
        if variant.kind is Kind.ADDED and "cam" in bundle.parts:
            bundle = replace(bundle, parts={**bundle.parts, "cam": added(bundle.parts["cam"])})
        return MadeVideo(chunks_of(bundle, conf, spec, spec.num_frames), inside)

    def low(self, spec: PromptSpec) -> Frames:
        """The low-resolution video of `full`, on to the end of the last window of any refined variant."""
        refined = [for_video(self._conf, v.settings).plan for v in VARIANTS.values() if v.kind is Kind.REFINED]
        return chunks_of(self.bundle, self._conf, spec, max(Plan(spec.num_frames, p).chunks[-1].stop for p in refined))

    def _continued(self, variant: Variant, spec: PromptSpec, full: Frames) -> MadeVideo:
        conf = self._conf
        folder = conf.diffusers.folder(variant.name)
        assert folder is not None, f"{variant.name} is made only where its folder is named"
        pipeline = load_pipeline(variant.name, folder, conf.device, conf.dtype, conf.allow_pickle)
        return MadeVideo(*continued(variant.name, pipeline, conf.diffusers, spec, full[0]))

    def _baseline(self, variant: Variant, spec: PromptSpec) -> MadeVideo:
        schedule = NoiseSchedule.from_config(self.bundle.parts["scheduler"])
        model = TextModel(self.bundle.base_nets(), schedule, self._conf.base, spec)
        size = self._conf.plan.chunk_frames
        latents = BASELINES[variant.name](model, spec.num_frames, size)
        inside = last_frame_borders(spec.num_frames, size) if variant.name == "last-frame" else ()
        return MadeVideo(model.decode(latents), inside)


def chunks_of(bundle: Bundle, conf: Conf, spec: PromptSpec, num_frames: int) -> Frames:
    """The first `num_frames` low-resolution frames of a video."""
    plan, memory, chunks = Plan(num_frames, conf.plan), None, list[Chunk]()
    model = bundle.base_model(conf.base, conf.opener)
    for index, span in enumerate(plan.chunks):
        if span.start < num_frames:
            memory, chunk = model.advance(spec, plan, index, memory)
            chunks.append(chunk)
    return np.concatenate([chunk.frames for chunk in chunks])[:num_frames]


def refined_frames(bundle: Bundle, conf: Conf, spec: PromptSpec, low: Frames) -> Frames:
    """The frames of a low-resolution video, refined as `longtake enhance` would."""
    stages: dict[StageName, Stage] = {
        StageName.GENERATE: RecordedChunks(low),
        StageName.REFINE: bundle.refiner(conf.refiner),
    }
    return np.concatenate([segment.frames for segment in build_runner(conf, stages).stream(spec)])
