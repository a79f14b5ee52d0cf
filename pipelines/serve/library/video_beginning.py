"""The files that the continuation of a client's video begins with: all of its own frames, and what the models need.

    fragments   of the final video, up to the first window of the models
    previews    of the chunks of its frames
    clip        its end, from which the models go on

The video is decoded once, and few of its frames are in memory at a time. `clip` comes last: with it all is there. A
writer makes one fragment a call, so that it has time for other takes in between.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial

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
from longtake.pipelines.serve.library.open_beginnings import Piece
from longtake.pipelines.serve.library.paths import CLIP, THUMBNAIL, fragment_name, preview_name

Frames = list[UInt8[np.ndarray, "h w 3"]]


def beginning_of(
    reader: VideoReader, extension: Extension, fps: Fraction, anchor_frame: int, size: Size
) -> Iterator[Piece]:
    """Names, and functions that make the contents: each is to be called before the next piece, or not at all.

    `size` is the height and width of the base model's frames. Raises what reading raises.
    """
    segments = _Due(extension, extension.own_segments)
    chunks = _Due(extension, extension.plan.chunks[: extension.num_own_chunks])
    end, frames = ClipFrames(extension, anchor_frame), dict[int, UInt8[np.ndarray, "h w 3"]]()
    shown_size = output_size(reader.height, reader.width)
    for number, frame in enumerate(reader.frames()):
        frames[number] = frame
        end.take(number, frame)
        for index, span in segments.at(number):
            own = [frames[extension.place(i)] for i in span]
            if index == 0:
                yield THUMBNAIL, partial(_thumbnail, own, shown_size)
            yield fragment_name(index), partial(_fragment, own, index, span, shown_size, fps, extension)
        for index, span in chunks.at(number):
            own = [frames[extension.place(i)] for i in span]
            if (shown := index - extension.num_skipped_chunks) >= 0:
                yield preview_name(shown), partial(_preview, own, shown, span, size, fps, extension)
        first = min(segments.first_frame, chunks.first_frame)
        frames = {i: one for i, one in frames.items() if i >= first}
    yield CLIP, lambda: pack_clip(end.clip)


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


def _thumbnail(own: Frames, size: Size) -> bytes:
    return jpeg(shown_pixels(own[0][None], size)[0])


def _fragment(own: Frames, index: int, span: Span, size: Size, fps: Fraction, extension: Extension) -> bytes:
    segment = Segment(extension.shown(span), shown_pixels(np.stack(own), size))
    return fragment_of(segment, fps, index, extension.num_old + extension.num_new)


def _preview(own: Frames, index: int, span: Span, size: Size, fps: Fraction, extension: Extension) -> bytes:
    chunk = Chunk(span, to_uint8(fitted(np.stack(own), size, Fit.STRETCH)))  # as the base model has it
    return fragment_of(seen_of(chunk, extension), fps, index, extension.num_old + extension.num_new)
