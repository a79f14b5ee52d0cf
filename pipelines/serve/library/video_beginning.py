"""The files that the continuation of a client's video begins with: all of its own frames, and what the models need.

    fragments   of the final video, up to the first window of the models
    previews    of the chunks of its frames
    clip        its end, from which the models go on

The video is decoded once, and few of its frames are in memory at a time. `clip` comes last: with it all is there.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.extension import Extension
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, Segment
from longtake.models.stages.opener import fitted
from longtake.models.video.fit import Fit, Size
from longtake.models.video.frames import to_uint8
from longtake.models.video.reader import VideoReader
from longtake.pipelines.files.encoding import fragment_of, jpeg, pack_clip, seen_of
from longtake.pipelines.runners.existing_video import ClipFrames, output_size, shown_pixels
from longtake.pipelines.serve.library.paths import CLIP, THUMBNAIL, fragment_name, preview_name

Named = tuple[str, bytes]


def beginning_of(
    reader: VideoReader, extension: Extension, fps: Fraction, anchor_frame: int, size: Size
) -> Iterator[Named]:
    """Names and contents. `size` is the height and width of the base model's frames. Raises what reading raises."""
    segments = _Due(extension, extension.own_segments)
    chunks = _Due(extension, extension.plan.chunks[: extension.num_own_chunks])
    end, frames = ClipFrames(extension, anchor_frame), dict[int, UInt8[np.ndarray, "h w 3"]]()
    shown_size = output_size(reader.height, reader.width)
    for number, frame in enumerate(reader.frames()):
        frames[number] = frame
        end.take(number, frame)
        for index, span in segments.at(number):
            own = shown_pixels(np.stack([frames[extension.place(i)] for i in span]), shown_size)
            yield from _fragment(index, Segment(extension.shown(span), own), fps, extension)
        for index, span in chunks.at(number):
            own = np.stack([frames[extension.place(i)] for i in span])
            chunk = Chunk(span, to_uint8(fitted(own, size, Fit.STRETCH)))  # as the base model has it
            yield from _preview(index, chunk, fps, extension)
        first = min(segments.first_frame, chunks.first_frame)
        frames = {i: one for i, one in frames.items() if i >= first}
    yield CLIP, pack_clip(end.clip)


class _Due:
    """Pieces in their order: each is due at its last frame."""

    def __init__(self, extension: Extension, spans: Sequence[Span]) -> None:
        self._extension, self._spans, self._next = extension, spans, 0

    def at(self, number: int) -> Iterator[tuple[int, Span]]:
        """Those that end with a frame of the video; several may, because frames before the first one are its copies."""
        while self._next < len(self._spans) and self._extension.place(self._spans[self._next].stop - 1) == number:
            self._next += 1
            yield self._next - 1, self._spans[self._next - 1]

    @property
    def first_frame(self) -> int:
        """The first frame that a later piece needs."""
        rest = self._spans[self._next :]
        return self._extension.place(rest[0].start if rest else self._extension.end)


def _fragment(index: int, segment: Segment, fps: Fraction, extension: Extension) -> Iterator[Named]:
    if index == 0:
        yield THUMBNAIL, jpeg(segment.frames[0])
    num_frames = extension.num_old + extension.num_new
    yield fragment_name(index), fragment_of(segment, fps, index, num_frames)


def _preview(index: int, chunk: Chunk, fps: Fraction, extension: Extension) -> Iterator[Named]:
    index -= extension.num_skipped_chunks
    if index >= 0:
        num_frames = extension.num_old + extension.num_new
        yield preview_name(index), fragment_of(seen_of(chunk, extension), fps, index, num_frames)
