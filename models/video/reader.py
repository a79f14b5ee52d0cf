"""The frames of any video as people see them, at a constant rate: the one way in which videos are read.

1. FFmpeg gets an open file and never a name: a colon or a % in it means nothing, and what a playlist refers to is
   refused.
2. A first pass decodes every frame and keeps its time alone (16 bytes): headers may be wrong. `time_grid.py` makes a
   rate of the times. The second pass, `frames()`, makes pictures (`picture.py`).
3. Frames that do not decode are left out and said; a file without any frame is an error.
4. `notes` has a line for everything that was dropped, guessed or converted.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from longtake.models.video.picture import picture
from longtake.models.video.time_grid import time_grid

Source = str | PathLike[str] | BinaryIO


class VideoReader:
    """`with VideoReader(path) as reader: for frame in reader.frames(): ...`

    `fps`, `num_frames`, `width` and `height` are those of `frames()`.
    """

    def __init__(self, source: Source) -> None:
        """`source` is a path, or a binary file that can seek; it stays the caller's.

        Reads it once. Raises ValueError, naming a path, with the reason if no frame can be decoded.
        """
        self._source, self._open = source, ExitStack()
        self.notes: list[str] = []
        times: list[float | None] = []
        lengths: list[float | None] = []
        with self._opened() as container:
            stream = self._stream(container)
            for frame in self._decoded(container, stream):
                base = frame.time_base or stream.time_base or Fraction(1, 90000)
                times.append(None if frame.pts is None else float(frame.pts * base))
                lengths.append(float(frame.duration * base) if frame.duration else None)
                if len(times) == 1:
                    self.height, self.width = picture(frame, stream.sample_aspect_ratio).shape[:2]
            rates = stream.average_rate, stream.guessed_rate
        self._grid = time_grid(times, _last(times, lengths), rates)
        self.notes += self._grid.notes
        self.fps, self.num_frames = self._grid.fps, self._grid.num_frames

    def frames(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Every frame: upright, square pixels, SDR in BT.709, all of one size. They are for reading only."""
        with self._opened() as container:
            stream = self._stream(container)
            decoded = self._decoded(container, stream, said=True)
            for frame, count in zip(decoded, self._grid.counts, strict=False):
                if count:
                    shown = picture(frame, stream.sample_aspect_ratio, (self.width, self.height))
                    for _ in range(count):
                        yield shown

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _opened(self) -> InputContainer:
        try:
            if isinstance(self._source, str | PathLike):
                file: BinaryIO = self._open.enter_context(Path(self._source).open("rb"))
            else:
                file = self._source
                file.seek(0)
            container: InputContainer = av.open(file, "r", io_open=_refuse)
            return container
        except (av.FFmpegError, OSError) as error:
            raise self._error(f"cannot be read as a video ({error.strerror or error})") from None

    def _stream(self, container: InputContainer) -> VideoStream:
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                return stream
        raise self._error("it has no video stream")

    def _decoded(self, container: InputContainer, stream: VideoStream, said: bool = False) -> Iterator[VideoFrame]:
        """At least one frame. What does not decode is left out, with a note unless it is `said` already."""
        errors: list[av.FFmpegError] = []
        num_frames = 0
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    errors.append(error)
                    continue
                num_frames += len(frames)
                yield from frames
        except av.FFmpegError as error:  # the container breaks off: the video ends here
            errors.append(error)
        reason = errors[0].strerror if errors else "it is empty"
        if num_frames == 0:
            raise self._error(f"no frame can be decoded ({reason})")
        if errors and not said:
            self.notes.append(f"{len(errors)} damaged parts are left out, the first one: {reason}")

    def _error(self, reason: str) -> ValueError:
        named = f"{self._source}: " if isinstance(self._source, str | PathLike) else ""
        return ValueError(f"{named}{reason}")


def _refuse(url: str, *_: object) -> None:
    raise OSError(f"it refers to {url}, and only the file itself is read")


def _last(times: list[float | None], lengths: list[float | None]) -> float | None:
    """The length of the last frame, if lengths before it agree with the times: some are a guess from the header."""
    pairs = [
        abs(after - before - length) <= 0.1 * (after - before) + 0.002  # clocks tick in ms
        for before, after, length in zip(times, times[1:], lengths, strict=False)
        if before is not None and after is not None and length
    ]
    believed = len(pairs) >= (len(times) - 1) / 2 and sum(pairs) >= 0.8 * len(pairs)
    return lengths[-1] if believed else None
