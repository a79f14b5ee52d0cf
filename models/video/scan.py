"""The first pass over every decoded frame of a video: times, size, and everything that deserves a note."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longtake.models.video.colour import describe
from longtake.models.video.losses import Losses, gaps, lengths_hold
from longtake.models.video.picture import PIXEL_ASPECTS, is_transparent, picture, shown_size, side_data, turn_of

_PICTURES = {"gif", "apng"}  # animated: delays, and no frame rate
_RAW = {"mjpeg", "dnxhd", "obu"}  # without a container: FFmpeg gives them times at a rate that it assumes
# Likewise without a container, but with a rate in the stream; the average one is FFmpeg's assumption.
_RAW_WITH_RATE = {"mpegvideo", "m4v", "h264", "hevc"}
_FASTEST_S, _SLOWED_S = 0.015, 0.1  # browsers turn delays below the first into the second


@dataclass(slots=True)
class Scan:
    """Filled frame by frame; about 80 bytes of each are kept, 9 MB for an hour at 30 fps."""

    times: list[float | None] = field(default_factory=list)  # seconds
    lengths: list[float | None] = field(default_factory=list)  # seconds
    aspects: list[Fraction | None] = field(default_factory=list)  # of pixels
    num_errors: int = 0  # parts that did not decode
    first_error: str | None = None
    rates: tuple[Fraction | None, ...] = ()  # of the header
    size: tuple[int, int] = (0, 0)  # of the first upright picture
    num_interlaced: int = 0
    num_packets: int = 0  # of all streams
    sound_end_s: float = 0.0  # by the clock of the file
    _is_picture: bool = False
    _num_slowed: int = 0
    _num_corrupt: int = 0
    _first_aspect: Fraction | None = None
    _transparent: bool = False
    _said: dict[str, None] = field(default_factory=dict)
    _sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    _losses: Losses = field(default_factory=Losses)

    def begin(self, container: InputContainer, stream: VideoStream) -> None:
        """Notes of the header."""
        self._is_picture = container.format.name in _PICTURES
        self.rates = () if self._is_picture else (stream.average_rate, stream.guessed_rate)
        if container.format.name in _RAW_WITH_RATE:
            self.rates = self.rates[1:]
        is_timed = container.format.name not in _RAW or stream.codec_context.framerate  # AV1 may have a rate of its own
        if not is_timed or container.format.name.endswith("_pipe"):
            self._say(f"it has no frame rate: {float(stream.average_rate or 0):.5g} fps assumed")
        others = [one for one in container.streams.video if one is not stream]
        videos = sum(not one.disposition & Disposition.attached_pic for one in others)
        if videos:
            self._say(f"it has other video streams: {videos} left out")
        aspect = stream.sample_aspect_ratio
        if aspect and aspect != 1 and not PIXEL_ASPECTS[0] <= aspect <= PIXEL_ASPECTS[1]:
            self._say(f"its pixel aspect ratio is implausible: {_ratio(aspect)}, so square pixels are assumed")
        self._losses.begin(container, stream)

    def see(self, packet: "Packet[Any]") -> None:
        """The next packet of any stream."""
        self.num_packets += packet.size > 0  # the last one of a stream is empty
        if packet.stream.type == "audio" and packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.sound_end_s = max(self.sound_end_s, end)
        self._losses.see(packet)

    def end(self, file: BinaryIO) -> None:
        """The file, when every packet was seen."""
        self._losses.end(file)
        for line in self._losses.behind(file):
            self._say(line)

    def miss_streams(self) -> None:
        """Streams began after the header."""
        self._say("other streams begin in the middle: left out")

    def miss_pictures(self) -> None:
        """A photo has more pictures than the one that viewers show."""
        self._say("it has other pictures behind its first, as for HDR or for two eyes: left out")

    def fail(self, error: av.FFmpegError) -> None:
        """The next part did not decode."""
        self.num_errors += 1
        self.first_error = self.first_error or error.strerror

    def take(self, frame: VideoFrame, stream: VideoStream) -> None:
        """The next decoded frame. Raises ValueError for pixels that cannot be converted."""
        lines = describe(frame.color_trc, frame.color_primaries, frame.colorspace)
        if not self.times:
            self._try(frame, stream)
        base = frame.time_base or stream.time_base or Fraction(1, 90_000)
        self._take_time(
            None if frame.pts is None else float(frame.pts * base),
            float(frame.duration * base) if frame.duration else None,
        )
        self.num_interlaced += frame.interlaced_frame
        self._num_corrupt += frame.is_corrupt
        self._transparent = self._transparent or is_transparent(frame)
        aspect = self._pixel_aspect(stream)
        # PyAV makes one for each frame: equal ones are kept once.
        self.aspects.append(self.aspects[-1] if self.aspects and self.aspects[-1] == aspect else aspect)
        turn, shown = turn_of(frame, stream), shown_size(frame, aspect)
        upright = turn.size(*shown)
        self._sizes[upright] += 1
        if len(self.times) == 1:
            self.size = upright
            if shown != (frame.width, frame.height):
                stored = f"{frame.width}x{frame.height} of {_ratio(aspect or Fraction(1))}"
                self._say(f"its pixels are not square: {stored} shown as {shown[0]}x{shown[1]}")
        if not turn.exact:
            self._say("it is tilted: turned to the nearest quarter")
        for line in [*lines, *_of_side_data(frame, stream)]:
            self._say(line)

    def _take_time(self, time: float | None, length: float | None) -> None:
        if self._is_picture and length and (length < _FASTEST_S or self._num_slowed):
            time = (self.times[-1] or 0.0) + (self.lengths[-1] or 0.0) if self.times else time
            self._num_slowed += length < _FASTEST_S
            length = _SLOWED_S if length < _FASTEST_S else length
        self.times.append(time)
        self.lengths.append(length)

    def _pixel_aspect(self, stream: VideoStream) -> Fraction | None:
        """The container's, until the codec's own changes in the middle of the video, as in broadcasts."""
        own = stream.codec_context.sample_aspect_ratio
        if not self.aspects:
            self._first_aspect = own
        return own if own and own != self._first_aspect else stream.sample_aspect_ratio

    @property
    def start_s(self) -> float:
        """The time of the first frame by the clock of the file."""
        return next((time for time in self.times if time is not None), 0.0)

    @property
    def last_s(self) -> float | None:
        """The length of the last frame, if earlier lengths agree with the times: many are guessed from the header."""
        return self.lengths[-1] if lengths_hold(self.times, self.lengths) else None

    def notes(self) -> list[str]:
        """A line for each thing dropped, guessed or converted, except for times: a kind, a colon, and numbers."""
        lines = list(self._said)
        if len(self._sizes) > 1:
            (width, height), num_others = self.size, len(self.times) - self._sizes[self.size]
            lines.append(f"its size changes: {num_others} of {len(self.times)} frames fitted into {width}x{height}")
        if self._num_slowed:
            slowed = f"{self._num_slowed} of {len(self.times)} frames"
            lines.append(f"its delays are too short: {slowed} shown for {_SLOWED_S:g} s, as in browsers")
        if self._transparent:
            lines.append("it is transparent: white shows through")
        if self.num_interlaced:
            lines.append(f"it is interlaced: {self.num_interlaced} of {len(self.times)} frames deinterlaced")
        if self.num_errors:
            lines.append(f"it is damaged: parts left out {self.num_errors}, first error: {self.first_error}")
        if self._num_corrupt:
            lines.append(f"it is damaged: {self._num_corrupt} of {len(self.times)} frames incomplete, used anyway")
        return lines

    def losses(self) -> list[str]:
        """A line for each thing that was lost before the file came here."""
        # Where frames are counted, the count has a line, and a gap may be a frame that stays on.
        found = [] if self._losses.counts_frames else gaps(self.times, self.lengths)
        return [*self._losses.notes(len(self.times), self.num_errors, self.num_interlaced > 0), *found]

    def _try(self, frame: VideoFrame, stream: VideoStream) -> None:
        try:
            picture(frame, stream, None)
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"its pixels ({frame.format.name}) cannot be converted: {error.strerror}") from None

    def _say(self, line: str) -> None:
        self._said[line] = None


def _of_side_data(frame: VideoFrame, stream: VideoStream) -> list[str]:
    lines = []
    if side_data(frame, Type.DOVI_METADATA, stream) and frame.color_trc == 2:
        lines.append("its colours are those of Dolby Vision: they are not converted")
    profile = (side_data(frame, Type.ICC_PROFILE, stream) or b"sRGB").replace(b"\0", b"")
    if b"sRGB" not in profile:
        lines.append("it has a colour profile (ICC): it is not applied")
    return lines


def _ratio(aspect: Fraction) -> str:
    return f"{aspect.numerator}:{aspect.denominator}"
