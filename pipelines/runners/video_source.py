"""An existing video in place of the base model: `longtake enhance` runs only the refinement stage on it."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk
from longtake.models.video.reader import VideoReader


class VideoSource:
    """A stage that reads one video chunk by chunk. Any order works; in order, the video is decoded only once.

    The result depends on the arguments alone; the open decoder is kept only for speed.
    """

    def __init__(self, reader: VideoReader) -> None:
        self.reader = reader
        self._frames: Iterator[UInt8[np.ndarray, "h w c"]] = iter(())
        self._next = 0  # number of the next frame, if the video had no end
        self._last: list[UInt8[np.ndarray, "h w c"]] = []  # the frame before it, if there was one

    def advance(self, spec: PromptSpec, plan: Plan, index: int, memory: None, /) -> tuple[None, Chunk]:
        """The frames of chunk `index` at the video's own size; past its end the last frame is repeated.

        Raises ValueError naming the path and the reason if the video can no longer be read.
        """
        span = plan.chunks[index]
        return None, Chunk(span, self.read(span))

    def read(self, span: Span) -> UInt8[np.ndarray, "t h w c"]:
        """The frames of `span`; past the end of the video the last one is repeated."""
        if not self._last or span.start < self._next:
            self._frames, self._next = self.reader.frames(), 0
        for frame in islice(self._frames, span.start - self._next):
            self._last = [frame]
        frames = list(islice(self._frames, len(span))) or self._last
        self._next, self._last = span.stop, frames[-1:]
        return pad_last(np.stack(frames), len(span))


def pad_last(frames: UInt8[np.ndarray, "t h w c"], num_frames: int) -> UInt8[np.ndarray, "n h w c"]:
    """At least `num_frames` frames: the last one is repeated as often as needed; no frame is cut."""
    if len(frames) == 0:
        raise ValueError("frames has 0 frames: there is no last frame to pad with")
    missing = max(0, num_frames - len(frames))
    return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
