"""An existing video that is continued: by `longtake extend`, by rows of a bulk job, and by the endpoint.

    existing    |-------------------------|              its own pixels go into the output
    clip                |-----------------|              what the models see of it
    window               |------------------------|      here it is the left neighbour, whose predictions are its frames
    overlap                         |-----|              at every step a random cut goes from those to the window's own
    new                                   |---------     shown in the shape of the video
    segments    |--------|----------------|--------|     as those of one video: so all three write the same bytes

The video is stretched to the models' frames, and new frames are stretched back: so nothing is cut off, and shapes are
kept wherever the models' frames have the shape of the video.
Shapes: t frames, h w rows and columns. No torch here, as long as new frames have the size of the video.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.chunk_queue import Handle
from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.resume import Resume
from longtake.models.domain.scheduler import Coupling
from longtake.models.domain.span import Span
from longtake.models.domain.state import Clip, Segment
from longtake.models.stages.params import OpenerParams
from longtake.models.video.fit import Fit, Size
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.runners.local import Observe

C = TypeVar("C", bound=Conf)
SAME_SHAPE = 0.02
SIZE_ADVICE = "set refiner.width=W refiner.height=H to give them its shape"


class Runner(Protocol):
    """A runner of one video: local, or on Ray."""

    def stream(
        self, spec: PromptSpec, observe: Observe | None = None, plan: Plan | None = None, resume: Resume | None = None
    ) -> Iterator[Segment]: ...


def for_extension(conf: C) -> C:
    """The configuration of a continuation: frames that exist do not change, so coupling is causal; nothing opens.

    Raises ValueError without a refiner, which joins new frames to those that exist.
    """
    if not conf.refiner.enabled:
        raise ValueError("refiner.enabled=false: to extend a video, the refiner joins new frames to its own")
    refiner = replace(conf.refiner, coupling=Coupling.CAUSAL, fit=Fit.STRETCH)
    return replace(conf, opener=OpenerParams(), refiner=refiner)


def extension_of(name: object, reader: VideoReader, num_frames: int, conf: Conf) -> Extension:
    """The numbers of `num_frames` more frames. Raises ValueError naming a video that is too short to be continued."""
    least = max(conf.base.anchor_frame + 1, conf.plan.condition_frames)
    if reader.num_frames < least:
        raise ValueError(f"{name}: it has {reader.num_frames} frames, and to be continued it needs at least {least}")
    return Extension(reader.num_frames, num_frames, conf.plan)


def output_size(height: int, width: int) -> Size:
    """Height and width of the output: of the video as people see it, without an odd last row or column."""
    return height // 2 * 2, width // 2 * 2


def shown_pixels(frames: UInt8[np.ndarray, "t h w 3"], size: Size) -> UInt8[np.ndarray, "t a b 3"]:
    """Frames of the video as the output has them: of its `size`, at most a row and a column smaller."""
    return frames[:, : size[0], : size[1]]


def differences(
    reader: VideoReader, extension: Extension, conf: Conf, sound: Sound, advice: str = SIZE_ADVICE
) -> list[str]:
    """Differences between the output and the video, a line each.

    `conf` is from `for_extension`, and `advice` is on the size of new frames.
    """
    width, height = reader.width, reader.height
    refined = conf.refiner.size[::-1]
    notes = []
    if output_size(height, width) != (height, width):
        notes.append(f"its last row or column is left out: {width}x{height}, and an mp4 has even sides")
    if abs(width * refined[1] / (height * refined[0]) - 1) > SAME_SHAPE:
        size = "x".join(map(str, refined))
        notes.append(f"its new frames are made at {size} and stretched to {width}x{height}; {advice}")
    if sound.is_kept:
        notes.append(f"its sound ends with it: the {extension.num_new} new frames are silent")
    return notes


class ClipFrames:
    """Collects the end of a video, as far as the models see it, and its anchor."""

    def __init__(self, extension: Extension, anchor_frame: int) -> None:
        first = min(extension.chunks[0].start, extension.end - extension.params.condition_frames)
        self._span, self._anchor_frame = Span(first, extension.end), anchor_frame
        self._rows: dict[int, list[int]] = {}  # a frame stands for those before the first one too
        for row, number in enumerate(self._span):
            self._rows.setdefault(extension.place(number), []).append(row)
        self._frames: UInt8[np.ndarray, "t h w 3"] | None = None
        self._anchor: UInt8[np.ndarray, "h w 3"] | None = None

    def take(self, number: int, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Takes in frame `number` of the video."""
        if self._frames is None:
            self._frames = np.empty((len(self._span), *frame.shape), np.uint8)
        self._frames[self._rows.get(number, [])] = frame
        if number == self._anchor_frame:
            self._anchor = frame.copy()

    @property
    def clip(self) -> Clip:
        """The end of the video and its anchor; complete after the last frame."""
        assert self._frames is not None and self._anchor is not None, "`extension_of` refuses a video without them"
        return Clip(self._span, self._frames, self._anchor)


def clip_of(reader: VideoReader, extension: Extension, anchor_frame: int) -> Clip:
    """The clip of a video, which is read once."""
    collected = ClipFrames(extension, anchor_frame)
    for number, frame in enumerate(reader.frames()):
        collected.take(number, frame)
    return collected.clip


def resume_from(extension: Extension, clip: Handle) -> Resume:
    """The point from which the models go on; `clip` is the handle of a Clip."""
    return Resume(extension.window, extension.plan.chunks_of(extension.window)[0], clip=clip)


def joined(segment: Segment, extension: Extension, clip: Clip | None, size: Size) -> Segment:
    """A segment of the models as part of the output: of `size`, counted from the first frame of the video.

    Of frames that exist it has the video's own, from `clip`; a segment without such frames needs none.
    """
    start, stop = max(segment.span.start, extension.shift), segment.span.stop
    frames = segment.frames[max(0, extension.end - segment.span.start) :]
    if len(frames) and frames.shape[1:3] != size:
        from longtake.models.video.frames import to_uint8, upscale  # torch

        frames = to_uint8(upscale(frames, *size))
    if start < extension.end:
        assert clip is not None, f"{segment.span} has frames that exist"
        own = shown_pixels(clip.of(Span(start, min(stop, extension.end))), size)
        frames = np.concatenate([own, frames]) if len(frames) else own
    return Segment(extension.shown(Span(start, stop)), frames)


@dataclass(frozen=True, eq=False)
class ExistingVideo:
    """A video and its continuation. `conf` is from `for_extension`, and `spec.num_frames` counts to the new end."""

    reader: VideoReader
    extension: Extension
    conf: Conf

    def stream(
        self,
        spec: PromptSpec,
        runner: Runner,
        observe: Observe | None = None,
        share: Callable[[Clip], Handle] = lambda clip: clip,
    ) -> Iterator[Segment]:
        """Segments of the whole video: its own frames, then the new ones, which `runner` makes.

        `share` gives the handle of the clip by which the runner's calls find it.
        """
        yield from self._own()
        clip, size = clip_of(self.reader, self.extension, self.conf.base.anchor_frame), self._size
        for segment in runner.stream(spec, observe, self.extension.plan, resume_from(self.extension, share(clip))):
            yield joined(segment, self.extension, clip, size)

    @property
    def _size(self) -> Size:
        return output_size(self.reader.height, self.reader.width)

    def _own(self) -> Iterator[Segment]:
        frames = self.reader.frames()
        for span in self.extension.own_segments:
            own = shown_pixels(np.stack(list(islice(frames, len(span)))), self._size)
            yield Segment(self.extension.shown(span), own)
