"""Sliding windows over a video, for methods that process it in pieces of the length that the model knows."""

from longtake.models.domain.span import Span


def sliding(num_frames: int, size: int, stride: int) -> tuple[Span, ...]:
    """Windows of `size` frames, `stride` apart; the last one slides back so that it ends with the video.

    Raises ValueError for sizes that leave a frame out.
    """
    if not 1 <= stride <= size:
        raise ValueError(f"stride={stride} must be in 1..{size}, the frames of a window")
    if num_frames < size:
        raise ValueError(f"num_frames={num_frames} is shorter than a window of {size} frames")
    starts = [*range(0, num_frames - size, stride), num_frames - size]
    return tuple(Span(start, start + size) for start in starts)
