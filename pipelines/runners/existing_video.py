"""An existing video that is continued: `longtake extend`, and rows of a bulk job.

    existing    |-------------------------|              its own pixels go into the output
    clip                |-----------------|              what the models see of it
    window               |------------------------|      here it is the left neighbour, whose predictions are its frames
    overlap                         |-----|              at every step a random cut goes from those to the window's own
    new                                   |---------     shown in the shape of the video

The video is stretched to the models' frames, and new frames are stretched back: so nothing is cut off, and shapes are
kept wherever the models' frames have the shape of the video.
Shapes: t frames, h w rows and columns. No torch here, as long as new frames have the size of the video.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

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

SAME_SHAPE = 0.02


class Runner(Protocol):
    """A runner of one video: local, or on Ray."""

    def stream(
        self, spec: PromptSpec, observe: Observe | None = None, plan: Plan | None = None, resume: Resume | None = None
    ) -> Iterator[Segment]: ...


def for_extension(conf: Conf) -> Conf:
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


def resume_from(extension: Extension, clip: Handle) -> Resume:
    """The point from which the models go on; `clip` is what `clip_of` read."""
    return Resume(extension.window, extension.plan.chunks_of(extension.window)[0], clip=clip)


def clip_of(reader: VideoReader, extension: Extension, anchor_frame: int) -> Clip:
    """The end of a video, as far as the models see it, and its anchor. Reads the video once."""
    first = min(extension.chunks[0].start, extension.end - extension.params.condition_frames)
    span = Span(first, extension.end)
    places: dict[int, list[int]] = {}  # a frame stands for those before the first one too
    for row, number in enumerate(span):
        places.setdefault(extension.place(number), []).append(row)
    frames = np.empty((len(span), reader.height, reader.width, 3), np.uint8)
    anchor = np.empty(frames.shape[1:], np.uint8)
    for number, frame in enumerate(reader.frames()):
        for row in places.get(number, ()):
            frames[row] = frame
        if number == anchor_frame:
            anchor[:] = frame
    return Clip(span, frames, anchor)


def joined(segment: Segment, extension: Extension, clip: Clip | None, size: Size) -> Segment:
    """A segment of the models as a part of the output, of `size` and counted from the first frame of the video.

    Of frames that exist it has the video's own, from the clip; a segment without such frames needs none.
    """
    start, end = max(segment.span.start, extension.shift), extension.end
    frames = segment.frames[max(0, end - segment.span.start) :]
    if len(frames) and frames.shape[1:3] != size:
        from longtake.models.video.frames import to_uint8, upscale  # torch

        frames = to_uint8(upscale(frames, *size))
    if clip is not None and start < min(segment.span.stop, end):
        own = clip.of(Span(start, min(segment.span.stop, end)))[:, : size[0], : size[1]]
        frames = np.concatenate([own, frames]) if len(frames) else own
    return Segment(extension.shown(segment.span), frames)


def shown_size(reader: VideoReader) -> Size:
    """Height and width of the output: of the video as people see it, without an odd last row or column."""
    return reader.height // 2 * 2, reader.width // 2 * 2


@dataclass(frozen=True, eq=False)
class ExistingVideo:
    """A video and its continuation. `conf` is from `for_extension`, and `spec.num_frames` counts to the new end."""

    reader: VideoReader
    extension: Extension
    conf: Conf

    def notes(self, sound: Sound) -> list[str]:
        """Differences between the output and the video, a line each."""
        width, height = self.reader.width, self.reader.height
        refined = self.conf.refiner.size[::-1]
        notes = []
        if shown_size(self.reader) != (height, width):
            notes.append(f"its last row or column is left out: {width}x{height}, and an mp4 has even sides")
        if abs(width * refined[1] / (height * refined[0]) - 1) > SAME_SHAPE:
            size = "x".join(map(str, refined))
            advice = "set refiner.width=W refiner.height=H to give them its shape"
            notes.append(f"its new frames are made at {size} and stretched to {width}x{height}; {advice}")
        if sound.is_kept:
            notes.append(f"its sound ends with it: the {self.extension.num_new} new frames are silent")
        return notes

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
        clip, size = clip_of(self.reader, self.extension, self.conf.base.anchor_frame), shown_size(self.reader)
        resume = resume_from(self.extension, share(clip))
        for segment in runner.stream(spec, observe, self.extension.plan, resume):
            shown = joined(segment, self.extension, clip, size)
            if len(shown.frames):
                yield shown

    def _own(self) -> Iterator[Segment]:
        height, width = shown_size(self.reader)
        frames = self.reader.frames()
        for span in self.extension.own_segments:
            yield Segment(span, np.stack(list(islice(frames, len(span))))[:, :height, :width])
