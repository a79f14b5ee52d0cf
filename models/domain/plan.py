"""The pieces of one video: a pure function of its length.

    frames    0       8       16      24      32      40
    chunks    |---------------|-------|-------|-------|      calls of the base model: 16 frames, then 8 new ones each
    windows   |-----------------------|                      units of the refiner: 24 frames
                              |-----------------------|      each overlaps the one before by 8
    segments  |---------------|-----------------------|      output: window k up to the start of window k+1

The windows cover the video and may run past its end: the base model continues to the end of the last window, and the
last segment is cut to the requested length. So no frame is dropped, and none is padded.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

from longtake.models.domain.checks import require_count
from longtake.models.domain.span import Span


@dataclass(frozen=True, slots=True)
class PlanParams:
    """The sizes of the pieces, in frames. The defaults are the paper's."""

    chunk_frames: int = 16  # one call of the base model
    condition_frames: int = 8  # of these, frames of the chunk before, that CAM continues
    window_frames: int = 24  # one call of the refiner
    overlap_frames: int = 8  # of these, frames shared with the window before

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require_count(field.name, value)
        if self.condition_frames >= self.chunk_frames:
            raise ValueError(
                f"condition_frames={self.condition_frames} is not smaller than chunk_frames={self.chunk_frames}: "
                "a chunk has to add at least 1 new frame"
            )
        if 2 * self.overlap_frames > self.window_frames:
            raise ValueError(
                f"overlap_frames={self.overlap_frames} is more than half of window_frames={self.window_frames}: "
                "a frame may lie in two windows, not in three"
            )

    @property
    def new_frames(self) -> int:
        """Frames that each chunk after the first adds."""
        return self.chunk_frames - self.condition_frames

    @property
    def unrefined(self) -> "PlanParams":
        """The same chunks, with a window for each call of the base model: no frame is made for the refiner alone."""
        overlap = min(self.condition_frames, self.chunk_frames // 2)
        return replace(self, window_frames=self.chunk_frames, overlap_frames=overlap)

    @property
    def stride_frames(self) -> int:
        """Frames from the start of one window to the start of the next."""
        return self.window_frames - self.overlap_frames


@dataclass(frozen=True)
class Plan:
    """The chunks, windows and segments of a video of `num_frames` frames. Raises ValueError if there is no frame."""

    num_frames: int
    params: PlanParams

    def __post_init__(self) -> None:
        require_count("num_frames", self.num_frames)

    def __reduce__(self) -> tuple[type["Plan"], tuple[int, PlanParams]]:
        # A plan travels with every task: two small values do, not the tuples made from them.
        return Plan, (self.num_frames, self.params)

    @cached_property
    def windows(self) -> tuple[Span, ...]:
        """The fewest windows that cover the video; the last one may run past its end."""
        size, stride = self.params.window_frames, self.params.stride_frames
        count = 1 + max(0, -(-(self.num_frames - size) // stride))
        return tuple(Span(k * stride, k * stride + size) for k in range(count))

    @cached_property
    def chunks(self) -> tuple[Span, ...]:
        """The *new* frames of each chunk: they tile the windows' frames; the last one may run past the last window."""
        first, new = self.params.chunk_frames, self.params.new_frames
        rest = range(first, max(first, self.windows[-1].stop), new)
        return (Span(0, first), *(Span(start, start + new) for start in rest))

    @cached_property
    def segments(self) -> tuple[Span, ...]:
        """The output of window k: they tile the video."""
        stops = [*(window.start for window in self.windows[1:]), self.num_frames]
        return tuple(Span(window.start, stop) for window, stop in zip(self.windows, stops, strict=True))

    def chunks_of(self, window: int) -> range:
        """Indices of the chunks that hold the frames of `window`."""
        span = self.windows[window]
        return range(self.chunk_at(span.start), self.chunk_at(span.stop - 1) + 1)

    def chunk_at(self, frame: int) -> int:
        """Index of the chunk that holds `frame`."""
        return 1 + max(-1, (frame - self.params.chunk_frames) // self.params.new_frames)
