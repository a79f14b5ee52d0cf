"""An existing video in place of the base model: `longtake enhance` runs only the refinement stage on it.

Size and length are found by decoding, since headers may be wrong: files are cut short, phones film sideways.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from os import PathLike

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import UInt8

from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk
from longtake.models.video.mp4 import decode_stream, video_stream

logger = logging.getLogger(__name__)

FALLBACK_FPS = Fraction(25)  # FFmpeg's own guess for a stream without a rate


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The result of `probe_video`: decodable frames, frames per second, and pixels of the upright picture."""

    num_frames: int
    fps: Fraction
    width: int
    height: int


def probe_video(path: str | PathLike[str]) -> VideoInfo:
    """Decodes the whole video once, holding one frame at a time.

    Raises ValueError naming the path and the reason if no frame can be decoded.
    """
    with _open(path) as container:
        height, width, num_frames = 0, 0, 0
        for frame in _frames(container, path):
            (height, width), num_frames = frame.shape[:2], num_frames + 1
        return VideoInfo(num_frames, _rate(container), width=width, height=height)


class VideoSource:
    """A stage: chunk after chunk of one video. Any order works; the order of the video opens the file once.

    The result depends on the arguments alone; the open decoder is kept only for speed.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Does not open the file: the process that runs the stage reads it."""
        self.path = path
        self._frames: Iterator[UInt8[np.ndarray, "h w c"]] = iter(())
        self._next = 0  # number of the next frame, if the video had no end
        self._last: list[UInt8[np.ndarray, "h w c"]] = []  # the frame before it, if there was one

    def advance(self, spec: PromptSpec, plan: Plan, index: int, memory: None, /) -> tuple[None, Chunk]:
        """The frames of chunk `index` at the video's own size; past its end the last frame is repeated.

        Raises ValueError naming the path and the reason when the video cannot be read.
        """
        span = plan.chunks[index]
        return None, Chunk(span, self._read(span))

    def _read(self, span: Span) -> UInt8[np.ndarray, "t h w c"]:
        if not self._last or span.start < self._next:
            self._frames, self._next = _read_all(self.path), 0
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


def _read_all(path: str | PathLike[str]) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    with _open(path) as container:
        yield from _frames(container, path)


def _open(path: str | PathLike[str]) -> InputContainer:
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a video ({error.strerror})") from None


def _frames(container: InputContainer, path: str | PathLike[str]) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """At least one frame, or ValueError; damaged parts are left out with a warning."""
    damaged: list[av.FFmpegError] = []
    num_frames = 0
    try:
        for frame in decode_stream(container, _stream(container, path), damaged):
            num_frames += 1
            yield frame
    except av.FFmpegError as error:  # the container breaks off: the video ends here
        damaged.append(error)
    reason = damaged[0].strerror if damaged else "it is empty"
    if num_frames == 0:
        raise ValueError(f"{path}: no frame can be decoded ({reason})")
    if damaged:
        logger.warning("%s: skipped damaged parts, num_errors=%d, first error: %s", path, len(damaged), reason)


def _stream(container: InputContainer, path: str | PathLike[str]) -> VideoStream:
    try:
        return video_stream(container)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rate(container: InputContainer) -> Fraction:
    stream = video_stream(container)
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and 0 < rate < 1000:
            return rate
    return FALLBACK_FPS
