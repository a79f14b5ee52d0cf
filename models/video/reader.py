"""Reads any video as people see it, at a constant frame rate. All videos that users bring are read here.

1. FFmpeg gets an open file, never a name: so a colon or a % in a name has no special meaning, and files that a playlist
   refers to are refused.
2. A first pass decodes every frame but keeps only its time, because headers may be wrong. `time_grid.py` derives a rate
   from the times. The second pass, `frames()`, makes pictures (`picture.py`) and holds one or two of them.
3. Frames that do not decode are left out, with a note; a file without any frame is an error.
4. `notes` has a line for everything that was dropped, guessed or converted. It is complete before `frames()`.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from os import SEEK_END, PathLike
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from longtake.models.video.crop import crop_of, cropped
from longtake.models.video.deinterlace import deinterlaced
from longtake.models.video.photo import photo_of
from longtake.models.video.picture import picture
from longtake.models.video.scan import Scan
from longtake.models.video.time_grid import time_grid

Source = str | PathLike[str] | BinaryIO
Frame = UInt8[np.ndarray, "h w 3"]

# FFmpeg's own decoders of these drop the transparency of WebM.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

# `io_open` is not called for network streams, which an .sdp file names.
_NO_NETWORK = {"protocol_whitelist": "none"}


class _Nameless:
    """A file without a name: FFmpeg would trust the ending of a name more than the contents."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell, self.seekable = file.read, file.seek, file.tell, file.seekable


PADDING = 2**20  # pixels that decoders may add to a frame


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is decoded of a video from somebody else."""

    max_frames: int
    max_pixels: int  # of a frame
    max_packets: int = 100_000  # of all streams: each takes 500 bytes and 23 us, however small it is
    max_sound_s: float = 3600.0  # gaps in it become silence: 50 MB and 0.8 s for 1000 s

    def check(
        self, num_frames: int = 0, width: int = 0, height: int = 0, num_packets: int = 0, sound_s: float = 0.0
    ) -> None:
        """Raises ValueError."""
        if num_packets > self.max_packets:
            raise ValueError(f"it has more than {self.max_packets} packets")
        if sound_s > self.max_sound_s:
            raise ValueError(f"its sound ends after {sound_s:.0f} s, and may last {self.max_sound_s:g} s")
        if width * height > self.max_pixels:
            raise ValueError(f"its frames are {width}x{height}, and may have {self.max_pixels} pixels")
        if num_frames > self.max_frames:
            raise ValueError(f"it has more than {self.max_frames} frames")


class VideoReader:
    """`with VideoReader(path) as reader: for frame in reader.frames(): ...`

    `fps` (a fraction), `num_frames`, `width` and `height` describe what `frames()` yields. `notes` are lines of text.
    `start_s` is the time of the first frame by the clock of the file, and `keeps_clock` says whether the other frames
    follow that clock.
    """

    def __init__(self, source: Source, bounds: Bounds | None = None) -> None:
        """`source` is a path, or a seekable binary file, which is not closed.

        Reads it once. Raises ValueError if it has no frame or is beyond `bounds`, with the reason and, if there is one,
        the path.
        """
        self._source, self._bounds = source, bounds
        self._reading: Iterator[Frame] = iter(())
        scan = Scan()
        with self.opened() as (container, stream):
            self._check(0, stream.codec_context.width, stream.codec_context.height)
            scan.begin(container, stream)
            self._crop = crop_of(container, stream)
            for frame in cropped(self._decoded(container, stream, scan), self._crop):
                self._check(len(scan.times) + 1, frame.width, frame.height)
                try:
                    scan.take(frame, stream)
                except ValueError as error:
                    raise self._error(str(error)) from None
        with self._file() as file:
            scan.end(file)
        grid = time_grid(scan.times, scan.last_s, scan.rates)
        self.fps, self.num_frames, self._counts = grid.fps, grid.num_frames, grid.counts
        self.width, self.height = scan.size
        self._check(self.num_frames, self.width, self.height, sound_s=scan.sound_end_s - scan.start_s)
        self.start_s, self.keeps_clock = scan.start_s, grid.keeps_clock
        self.notes = [*self._crop.notes, *scan.notes(), *grid.notes, *scan.losses()]
        self._aspects = scan.aspects
        self._interlaced = scan.num_interlaced > 0

    def frames(self) -> Iterator[Frame]:
        """Every frame: upright, square pixels, SDR in BT.709, on white, all of one size. Do not write to them.

        Edges that the container cuts off are not in them.
        Only one iteration runs at a time: a new call ends the one before.
        """
        self.close()
        self._reading = self._pictures()
        return self._reading

    def close(self) -> None:
        """Ends the iteration, and closes the file if it was opened here."""
        if isinstance(self._reading, Generator):
            self._reading.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """The file as PyAV has it, from its beginning, and the stream that is read."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._file())
                opened = av.open(_Nameless(file), "r", io_open=_refuse, options=_NO_NETWORK)
                container: InputContainer = stack.enter_context(opened)
            except (av.FFmpegError, OSError) as error:
                raise self._error(f"cannot be read as a video ({error.strerror or error})") from None
            streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
            if not streams:
                raise self._error("it has no video stream")
            streams = [one for one in streams if getattr(one, "codec_context", None)]
            if not streams:
                raise self._error("no decoder is known for its video stream")
            # A still picture for viewers that cannot play the video may come first, as in AVIF.
            chosen = next((stream for stream in streams if stream.frames != 1), streams[0])
            if self._bounds is not None:  # FFmpeg refuses a much larger frame before it takes memory for it
                chosen.codec_context.options = {"max_pixels": str(2 * self._bounds.max_pixels + PADDING)}
            yield container, chosen

    def _check(
        self, num_frames: int = 0, width: int = 0, height: int = 0, num_packets: int = 0, sound_s: float = 0.0
    ) -> None:
        if self._bounds is None:
            return
        try:
            self._bounds.check(num_frames, width, height, num_packets, sound_s)
        except ValueError as error:
            raise self._error(str(error)) from None

    @contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        """The file from its beginning; closed afterwards if it was opened here."""
        with ExitStack() as stack:
            if isinstance(self._source, str | PathLike):
                path = Path(self._source)
                if path.exists() and not path.is_file() and not path.is_dir():  # it may never end, or never begin
                    raise self._error("it is a pipe or a device, and a video is read twice: it must be a file")
                file: BinaryIO = stack.enter_context(path.open("rb"))
            else:
                file = self._source
            if file.seek(0, SEEK_END) == 0:
                raise self._error("it is empty")
            file.seek(0)
            yield file

    def _pictures(self) -> Iterator[Frame]:
        with self.opened() as (container, stream):
            decoded = self._decoded(container, stream)
            whole = deinterlaced(decoded) if self._interlaced else decoded
            left = zip(self._counts, self._aspects, strict=True)
            for frame, (count, aspect) in zip(cropped(whole, self._crop), left, strict=False):
                if count:
                    shown = picture(frame, stream, aspect, (self.width, self.height))
                    yield from repeat(shown, count)
            if next(left, None) is not None:
                raise self._error("it changed while it was read")

    def _decoded(
        self, container: InputContainer, stream: VideoStream, scan: Scan | None = None
    ) -> Iterator[VideoFrame]:
        """At least one frame. Parts that do not decode, and packets of all streams, are reported to `scan`."""
        decoder, num_frames, reason = _decoder(stream), 0, ""

        def fail(error: av.FFmpegError) -> None:
            nonlocal reason
            reason = reason or str(error.strerror)
            if scan is not None:
                scan.fail(error)

        try:
            for packet in container.demux():
                if scan is not None:
                    scan.see(packet)
                    self._check(num_packets=scan.num_packets)
                if packet.stream is not stream:  # the last packet of each stream has no index
                    continue
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError as error:
                    fail(error)
                    continue
                num_frames += len(frames)
                photo = photo_of(packet)
                yield from photo.unmirrored(frames)
                if photo.has_others and container.format.name == "jpeg_pipe":
                    if scan is not None:
                        scan.miss_pictures()
                    break
        except av.FFmpegError as error:  # the container breaks off: the video ends here
            fail(error)
        except IndexError:  # PyAV 18.1 passes over streams that begin in the middle, but at the end it looks for them
            if scan is not None:
                scan.miss_streams()
        if num_frames == 0:
            webp = "; FFmpeg reads no animated WebP" if container.format.name == "webp_pipe" else ""
            raise self._error(f"no frame can be decoded ({reason or 'it is empty'}{webp})")

    def _error(self, reason: str) -> ValueError:
        named = f"{self._source}: " if isinstance(self._source, str | PathLike) else ""
        return ValueError(f"{named}{reason}")


def _decoder(stream: VideoStream) -> VideoCodecContext:
    name = _WITH_ALPHA.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext), "of a video codec"
    return decoder


def _refuse(url: str, *_: object) -> None:
    raise OSError(f"it refers to {url}, but only the file itself is read")
