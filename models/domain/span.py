"""A half-open range of frames or of denoising steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """`[start, stop)`; iterating gives the numbers in it. An empty span is legal (and false)."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"span=[{self.start}, {self.stop}): a span needs 0 <= start <= stop")

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"

    @property
    def frames(self) -> slice:
        """For indexing a whole video: `video[span.frames]`."""
        return slice(self.start, self.stop)
