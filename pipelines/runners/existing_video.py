"""An existing video that is continued: `longtake extend`.

    existing    |-------------------------|              its own pixels go into the output
    window               |------------------------|      here it is the left neighbour, whose predictions are its frames
    overlap                         |-----|              at every step a random cut goes from those to the window's own
    new                                   |---------     shown in the shape of the video

The video is stretched to the models' frames, and new frames are stretched back: so nothing is cut off, and shapes are
kept wherever the models' frames have the shape of the video.
Shapes: t frames, h w rows and columns.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.extension import Extension
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling, task_blocks
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, HeldFrames, Memory, Segment
from longtake.models.stages.bundle import Bundle
from longtake.models.stages.opener import fitted, memory_from
from longtake.models.stages.params import OpenerParams
from longtake.models.video.fit import Fit, Size
from longtake.models.video.frames import to_uint8, upscale
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.local import Observe
from longtake.pipelines.runners.stages import build_generator

C = TypeVar("C", bound=Conf)
SAME_SHAPE = 0.02
SIZE_ADVICE = "set refiner.width=W refiner.height=H to give them its shape"
Frames = Mapping[int, UInt8[np.ndarray, "h w 3"]]  # by their numbers in the video


def for_extension(conf: C) -> C:
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
        """Height and width of the output."""
        return output_size(self.reader)

    def notes(self, sound: Sound) -> list[str]:
        """Differences between the output and the video, a line each."""
        return differences(self.reader, self.extension, self.conf, sound)

    def stream(self, spec: PromptSpec, observe: Observe | None = None) -> Iterator[Segment]:
        """Segments of the whole video: its own frames, then the new ones."""
        runner, extension = build_generator(self.conf, self.bundle), self.extension
        yield from self._own()
        frames = self._last_frames()
        held = held_frames(frames, extension)
        for segment in runner.stream(spec, observe, extension.plan, self._resume(frames, held)):
            yield joined(segment, extension, held, self.size)

    def resume(self) -> Resume:
        """The point from which the models go on. Reads the video once."""
        frames = self._last_frames()
        return self._resume(frames, held_frames(frames, self.extension))

    def _resume(self, frames: Frames, held: HeldFrames) -> Resume:
        extension, refiner = self.extension, self.conf.refiner
        size = self.bundle.base_model(self.conf.base).frame_size
        blocks = task_blocks(refiner.num_inference_steps, refiner.steps_per_task, refiner.coupling)
        return Resume(
            extension.window,
            extension.plan.chunks_of(extension.window)[0],
            memory_after(frames, extension, self.conf.base.anchor_frame, size),
            dict.fromkeys(blocks[:-1], held),
            tuple(chunk_of(frames, extension, span, size) for span in extension.chunks),
        )

    def _last_frames(self) -> Frames:
        wanted = last_frames(self.extension, self.conf.base.anchor_frame)
        return {i: frame for i, frame in enumerate(self.reader.frames()) if i in wanted}

    def _own(self) -> Iterator[Segment]:
        height, width = self.size
        frames = self.reader.frames()
        for span in self.extension.own_segments:
            own = np.stack(list(islice(frames, len(span))))[:, :height, :width]
            yield Segment(self.extension.shown(span), own)


def output_size(reader: VideoReader) -> Size:
    """Height and width of a video as people see it, without an odd last row or column."""
    return reader.height // 2 * 2, reader.width // 2 * 2


def differences(
    reader: VideoReader, extension: Extension, conf: Conf, sound: Sound, advice: str = SIZE_ADVICE
) -> list[str]:
    """Differences between the output and the video, a line each. `advice` is on the size of new frames."""
    width, height = reader.width, reader.height
    refined = conf.refiner.size[::-1]
    notes = []
    if output_size(reader) != (height, width):
        notes.append(f"its last row or column is left out: {width}x{height}, and an mp4 has even sides")
    if abs(width * refined[1] / (height * refined[0]) - 1) > SAME_SHAPE:
        size = "x".join(map(str, refined))
        notes.append(f"its new frames are made at {size} and stretched to {width}x{height}; {advice}")
    if sound.is_kept:
        notes.append(f"its sound ends with it: the {extension.num_new} new frames are silent")
    return notes


def last_frames(extension: Extension, anchor_frame: int) -> Collection[int]:
    """The frames of the video that the models need: the anchor, and the last ones."""
    first = min(extension.chunks[0].start, extension.held.start)
    return {anchor_frame, *map(extension.place, range(first, extension.end))}


def memory_after(frames: Frames, extension: Extension, anchor_frame: int, size: Size) -> Memory:
    """The memory after the video, for a base model with frames of `size`."""
    last = range(extension.end - extension.params.condition_frames, extension.end)
    clip = np.stack([frames[anchor_frame], *(frames[extension.place(i)] for i in last)])
    return memory_from(clip, size, Fit.STRETCH, 0, len(last))


def chunk_of(frames: Frames, extension: Extension, span: Span, size: Size) -> Chunk:
    """The frames of a chunk that exist, as the base model would have made them."""
    return Chunk(span, to_uint8(fitted(_stack(frames, extension, span), size, Fit.STRETCH)))


def held_frames(frames: Frames, extension: Extension) -> HeldFrames:
    """The frames of the first window that exist."""
    return HeldFrames(extension.window - 1, _stack(frames, extension, extension.held))


def joined(segment: Segment, extension: Extension, held: HeldFrames | None, size: Size) -> Segment:
    """A segment of the models as part of the output: of `size`, counted from the first frame of the video.

    Of frames that exist it has the video's own; one without such frames needs no `held`.
    """
    start, stop = max(segment.span.start, extension.shift), segment.span.stop
    frames = segment.frames[max(0, extension.end - segment.span.start) :]
    if len(frames) and frames.shape[1:3] != size:
        frames = to_uint8(upscale(frames, *size))
    if held is not None and start < extension.end:
        own = held.frames[start - extension.held.start : min(stop, extension.end) - extension.held.start]
        own = own[:, : size[0], : size[1]]
        frames = np.concatenate([own, frames]) if len(frames) else own
    return Segment(extension.shown(Span(start, stop)), frames)


def _stack(frames: Frames, extension: Extension, span: Span) -> UInt8[np.ndarray, "t h w 3"]:
    return np.stack([frames[extension.place(i)] for i in span])
