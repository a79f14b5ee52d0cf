"""The numbers of an existing video that is continued.

    existing      |---------------------------|                    its frames; the last one is followed by new ones
    shift      |--|                                                frames are counted from a little before it
    chunks     |---------------|-------|------|-------|-------|    so that its end is the end of a chunk
    windows            ...  |-------------------------|            `window`: the first with new frames

A video that ends with a chunk, and is a window and an overlap long, has no shift: its frames have the numbers that they
have in one video of the whole length, and with the same memory the same frames follow.
"""

from dataclasses import dataclass
from functools import cached_property

from longtake.models.domain.checks import require_count
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.span import Span


@dataclass(frozen=True)
class Extension:
    """`num_new` frames after `num_old` that exist. Frames before the first one that exists are its copies."""

    num_old: int
    num_new: int
    params: PlanParams

    def __post_init__(self) -> None:
        require_count("num_old", self.num_old)
        require_count("num_frames", self.num_new)

    @cached_property
    def shift(self) -> int:
        """The number of the first frame that exists."""
        params = self.params
        least = max(self.num_old, params.chunk_frames, params.stride_frames + params.overlap_frames)
        return least + (params.chunk_frames - least) % params.new_frames - self.num_old

    def shown(self, span: Span) -> Span:
        """The frames of a span that viewers see, counted from the first one that exists."""
        return Span(max(0, span.start - self.shift), max(0, span.stop - self.shift))

    @property
    def end(self) -> int:
        """The number of the first new frame."""
        return self.shift + self.num_old

    @cached_property
    def plan(self) -> Plan:
        return Plan(self.end + self.num_new, self.params)

    @property
    def window(self) -> int:
        """The first one with new frames: it blends with those that exist."""
        return (self.end - self.params.overlap_frames) // self.params.stride_frames

    @property
    def num_skipped(self) -> int:
        """The segments at the beginning that have no frame that exists."""
        return sum(segment.stop <= self.shift for segment in self.plan.segments)

    @property
    def num_skipped_chunks(self) -> int:
        """As `num_skipped`, of chunks."""
        return sum(chunk.stop <= self.shift for chunk in self.plan.chunks)

    @property
    def num_own_chunks(self) -> int:
        """The chunks of frames that exist."""
        return sum(chunk.stop <= self.end for chunk in self.plan.chunks)

    @property
    def own_segments(self) -> tuple[Span, ...]:
        """Those before `window`, of frames that exist. The segment of `window` begins with such frames too."""
        spans = self.plan.segments[self.num_skipped : self.window]
        return tuple(Span(max(span.start, self.shift), span.stop) for span in spans)

    @property
    def chunks(self) -> tuple[Span, ...]:
        """The chunks of `window` that exist; they reach over at least an overlap of it."""
        spans = (self.plan.chunks[index] for index in self.plan.chunks_of(self.window))
        return tuple(span for span in spans if span.stop <= self.end)

    def place(self, frame: int) -> int:
        """The number of a frame in the existing video, from its number here."""
        return max(0, frame - self.shift)
