"""An existing video that is continued: `longtake extend`.

    existing    |-------------------------|              its own pixels go into the output
    window               |------------------------|      here it is the left neighbour, whose predictions are its frames
    overlap                         |-----|              at every step a random cut goes from those to the window's own
    new                                   |---------     shown in the shape of the video

The video is stretched to the models' frames, and new frames are stretched back: so nothing is cut off, and shapes are
kept wherever the models' frames have the shape of the video.
Shapes: t frames, h w rows and columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.extension import Extension
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, task_blocks
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, Segment
from longtake.models.stages.bundle import Bundle
from longtake.models.stages.opener import fitted, memory_from
from longtake.models.stages.params import OpenerParams
from longtake.models.stages.unrefined import Unrefined
from longtake.models.video.fit import Fit
from longtake.models.video.frames import to_uint8, upscale
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.local import LocalRunner, Observe
from longtake.pipelines.runners.stages import build_generator

SAME_SHAPE = 0.02
Frames = UInt8[np.ndarray, "t h w 3"]


def for_extension(conf: Conf) -> Conf:
    """The configuration of a continuation: frames that exist do not change, so coupling is causal; nothing opens.

    Raises ValueError without a refiner, which joins new frames to those that exist.
    """
    if not conf.refiner.enabled:
        raise ValueError("refiner.enabled=false: to extend a video, the refiner joins new frames to its own")
    refiner = replace(conf.refiner, coupling=Coupling.CAUSAL, fit=Fit.STRETCH)
    return replace(conf, opener=OpenerParams(), refiner=refiner)


def extension_of(path: str | Path, reader: VideoReader, num_frames: int, conf: Conf) -> Extension:
    """The numbers of `num_frames` more frames. Raises ValueError naming a video that is too short to be continued."""
    least = max(conf.base.anchor_frame + 1, conf.plan.condition_frames)
    if reader.num_frames < least:
        raise ValueError(f"{path}: it has {reader.num_frames} frames, and to be continued it needs at least {least}")
    return Extension(reader.num_frames, num_frames, conf.plan)


@dataclass(frozen=True, eq=False)
class ExistingVideo:
    """A video and its continuation. `conf` is from `for_extension`, and `spec.num_frames` counts to the new end."""

    reader: VideoReader
    extension: Extension
    conf: Conf
    bundle: Bundle

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output: of the video as people see it, without an odd last row or column."""
        return self.reader.height // 2 * 2, self.reader.width // 2 * 2

    def notes(self, sound: Sound) -> list[str]:
        """Differences between the output and the video, a line each."""
        width, height = self.reader.width, self.reader.height
        refined = self.conf.refiner.size[::-1]
        notes = []
        if self.size != (height, width):
            notes.append(f"its last row or column is left out: {width}x{height}, and an mp4 has even sides")
        if abs(width * refined[1] / (height * refined[0]) - 1) > SAME_SHAPE:
            size = "x".join(map(str, refined))
            advice = "set refiner.width=W refiner.height=H to give them its shape"
            notes.append(f"its new frames are made at {size} and stretched to {width}x{height}; {advice}")
        if sound.is_kept:
            notes.append(f"its sound ends with it: the {self.extension.num_new} new frames are silent")
        return notes

    def stream(self, spec: PromptSpec, observe: Observe | None = None) -> Iterator[Segment]:
        """Segments of the whole video: its own frames, then the new ones."""
        runner = build_generator(self.conf, self.bundle)
        yield from self._own()
        yield from self._new(runner, spec, self.resume(), observe)

    def resume(self) -> Resume:
        """The point from which the models go on. Reads the video once."""
        extension, anchor_frame = self.extension, self.conf.base.anchor_frame
        first = extension.chunks[0].start
        wanted = {anchor_frame, *map(extension.place, range(first, extension.end))}
        frames = {i: frame for i, frame in enumerate(self.reader.frames()) if i in wanted}
        size = self.bundle.base_model(self.conf.base).frame_size
        last = range(extension.end - extension.params.condition_frames, extension.end)
        clip = np.stack([frames[anchor_frame], *(frames[extension.place(i)] for i in last)])
        memory = memory_from(clip, size, Fit.STRETCH, 0, len(last))
        chunks = tuple(
            Chunk(span, to_uint8(fitted(_stack(frames, extension, span), size, Fit.STRETCH)))
            for span in extension.chunks
        )
        return Resume(
            extension.window,
            extension.plan.chunks_of(extension.window)[0],
            memory,
            self._boundaries(_stack(frames, extension, extension.held)),
            chunks,
        )

    def _boundaries(self, held: Frames) -> dict[Span, object]:
        refiner, window = self.conf.refiner, self.extension.window - 1
        blocks = task_blocks(refiner.num_inference_steps, refiner.steps_per_task, refiner.coupling)
        stage = self.bundle.refiner(refiner)
        assert not isinstance(stage, Unrefined), "`for_extension` refuses what has none"
        return {steps: stage.boundary_of(held, window, steps) for steps in blocks[:-1]}

    def _own(self) -> Iterator[Segment]:
        height, width = self.size
        frames, start = self.reader.frames(), 0
        while piece := list(islice(frames, self.extension.params.window_frames)):
            yield Segment(Span(start, start + len(piece)), np.stack(piece)[:, :height, :width])
            start += len(piece)

    def _new(self, runner: LocalRunner, spec: PromptSpec, resume: Resume, observe: Observe | None) -> Iterator[Segment]:
        end, shift = self.extension.end, self.extension.shift
        for segment in runner.stream(spec, observe, self.extension.plan, resume):
            start = max(end, segment.span.start)
            frames = segment.frames[start - segment.span.start :]
            if len(frames):
                shown = frames if frames.shape[1:3] == self.size else to_uint8(upscale(frames, *self.size))
                yield Segment(Span(start - shift, segment.span.stop - shift), shown)


def _stack(frames: dict[int, UInt8[np.ndarray, "h w 3"]], extension: Extension, span: Span) -> Frames:
    return np.stack([frames[extension.place(i)] for i in span])
