"""Losses of a file, as far as they can be known: the promises of its container against the packets that are there.

Counts: AVI and MXF, whose clocks tick once per frame, and the index of MP4 know how many frames there should be.
Lengths: most headers have one. Breaks: MPEG-TS numbers its packets. Gaps: frames have lengths, so that the next one
begins where one ends; Matroska, FLV and ASF know no more than that, and often not even that. A frame that is missing
there looks like one that a recorder never took: only the times tell, and `time_grid.py` has a note on them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import unpack_from
from typing import Any, BinaryIO

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.models.video.time_grid import MAX_HOLD_S

_WITH_LENGTH = {"mov", "matroska", "avi", "flv", "asf", "mxf"}  # others have none in the header: FFmpeg guesses
_CUT_S = dict.fromkeys(("matroska", "flv", "asf"), 0.2)  # less is rounding, or the length of the last packet of sound
_ANY_CUT_S = 0.5  # headers of others may be of something else, such as a track of timecodes
# Of these FFmpeg reads only the first one in a file; of others, such as MPEG-TS and Matroska, all.
_MARKS = {"mov": b"ftyp", "flv": b"FLV\1", "asf": b"\x30\x26\xb2\x75", "apng": b"\x89PNG"}
_MARKS["jpeg_pipe"] = b"\0\0\0.ftyp"  # phones put a short video behind a photo
_ASF_ABOUT = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # begins the part with the properties of the file
_MARK_BYTES = 8  # at most
_FRAME_BY_FRAME = {"h264", "hevc", "mpeg1video", "mpeg2video"}  # VP8 has packets that only prepare others
_SEARCHED = 1 << 20  # bytes at a time


@dataclass(slots=True)
class Losses:
    """Filled packet by packet; nothing of a packet is kept."""

    _kinds: frozenset[str] = frozenset()  # FFmpeg's names of the container
    _index: int = -1  # of the stream that is read
    _promised: int = 0  # frames; 0 if the container does not count them
    _num_packets: int = 0
    _num_broken: int = 0
    _last_dts: int = -1
    _last_s: float = float("inf")  # the frame before
    _header_s: float | None = None
    _begin_s: float = float("inf")
    _end_s: float = float("-inf")
    _read_to: int = 0  # bytes of the file
    _num_frames: int | None = 0  # that the decoder should give; None for codecs that have packets without one

    def begin(self, container: InputContainer, stream: VideoStream) -> None:
        """The promises of the header."""
        self._kinds, self._index = frozenset(container.format.name.split(",")), stream.index
        self._num_frames = 0 if stream.codec_context.name in _FRAME_BY_FRAME else None
        if container.duration and _WITH_LENGTH & self._kinds:
            self._header_s = container.duration / 1_000_000
        if "avi" in self._kinds and stream.average_rate:  # if it was cut, its duration is a guess
            self._header_s = max(self._header_s or 0.0, float(stream.frames / stream.average_rate))
        if "mov" in self._kinds:
            self._promised = len(stream.index_entries)  # of a fragmented file, those of the first fragment
        elif stream.average_rate and stream.time_base and stream.time_base * stream.average_rate == 1:
            self._promised = {"avi": stream.frames, "mxf": stream.duration or 0}.get(container.format.name, 0)

    def see(self, packet: "Packet[Any]") -> None:
        """The next packet of any stream."""
        if packet.pos is not None:
            self._read_to = max(self._read_to, packet.pos + packet.size)
        if packet.pts is not None:
            begin, length = (float((ticks or 0) * packet.time_base) for ticks in (packet.pts, packet.duration))
            if packet.stream_index == self._index:
                length = length or max(0.0, begin - self._last_s)  # if it is not known: like the one before
                self._last_s = begin
            self._begin_s = min(self._begin_s, begin)
            self._end_s = max(self._end_s, begin + length)
        if packet.stream_index == self._index and (packet.size or packet.dts is not None):
            self._num_packets += 1
            self._num_broken += packet.is_corrupt
            self._last_dts = max(self._last_dts, -1 if packet.dts is None else packet.dts)
            if self._num_frames is not None:
                self._num_frames += packet.size > 0 and not packet.is_discard

    def notes(self, num_frames: int, num_errors: int, interlaced: bool) -> list[str]:
        """A line for each loss. `num_errors` parts that did not decode have a line of their own."""
        lines = []
        # A half picture may be a packet of its own.
        undecoded = 0 if self._num_frames is None or interlaced else self._num_frames - num_frames - num_errors
        if undecoded > 0:
            lines.append(f"some packets gave no frame: {undecoded}, they may need others that are not there")
        if self._num_broken > num_errors:
            lines.append(f"its packets break off: {self._num_broken} incomplete, frames may be missing or damaged")
        length = self._end_s - min(self._begin_s, 0.0)
        if self._header_s and self._header_s - length > self._cut_s:
            lines.append(f"it ends early: after {length:.1f} s, but its header says {self._header_s:.1f} s")
        elif (found := self._found) < self._promised:
            lines.append(f"frames are missing: {self._promised - found} of the {self._promised} of its header")
        return lines

    @property
    def _cut_s(self) -> float:
        return max((_CUT_S[kind] for kind in self._kinds & _CUT_S.keys()), default=_ANY_CUT_S)

    @property
    def counts_frames(self) -> bool:
        """Whether the container says how many frames there should be."""
        return self._promised > 0

    @property
    def _found(self) -> int:
        """Frames of the container, whether they decode or not."""
        if "avi" not in self._kinds:
            return self._num_packets
        # AVI has empty packets for frames that only stay on: they have a time, but FFmpeg passes over them. If there
        # are more of them than others, its clock is finer than its frames, and a count says little.
        return self._last_dts + 1 if self._last_dts < 2 * self._num_packets else self._promised

    def end(self, file: BinaryIO) -> None:
        """The file, when every packet was seen."""
        if "asf" in self._kinds:
            self._header_s = _asf_length(file) or self._header_s

    def behind(self, file: BinaryIO) -> list[str]:
        """A line if another file begins behind the last packet, as after `cat a.mp4 b.mp4`, or in that of a photo."""
        mark = next((mark for kind, mark in _MARKS.items() if kind in self._kinds), None)
        if mark is None or not self._read_to:
            return []
        file.seek(0 if "jpeg_pipe" in self._kinds else self._read_to)
        before = b""
        while piece := file.read(_SEARCHED):
            if re.search(mark, before + piece, re.DOTALL):
                return ["another file is joined to its end: left out"]
            before = piece[1 - _MARK_BYTES :]
        return []


def _asf_length(file: BinaryIO) -> float | None:
    """The length in the header of an ASF file: FFmpeg does not believe it once a twentieth of the file is missing."""
    file.seek(0)
    _, found, about = file.read(_SEARCHED).partition(_ASF_ABOUT)
    if not found or len(about) < 76:
        return None
    length, preroll, flags = unpack_from("<Q8xQI", about, 48)
    is_live = flags & 1  # nothing was known yet
    return None if is_live else length / 10_000_000 - preroll / 1000


def lengths_hold(times: Sequence[float | None], lengths: Sequence[float | None]) -> bool:
    """Whether frames mostly end where the next one begins: many lengths are guessed from the header."""
    pairs = [
        abs(step - length) <= 0.1 * step + 0.002  # clocks tick in ms
        for step, length in _steps(times, lengths)
    ]
    return len(pairs) >= (len(times) - 1) / 2 and sum(pairs) >= 0.8 * len(pairs)


def gaps(times: Sequence[float | None], lengths: Sequence[float | None]) -> list[str]:
    """A line if some frames end long before the next one begins, though most lengths hold."""
    steps = list(_steps(times, lengths))
    lost = [round(step / length) - 1 for step, length in steps if length * 1.5 < step <= MAX_HOLD_S]
    misplaced = sum(step == 0 for step, _ in steps)  # each of these fills a gap
    if sum(lost) <= misplaced or not lengths_hold(times, lengths):
        return []
    return [f"frames seem to be missing: about {sum(lost) - misplaced}, gaps {len(lost)}"]


def _steps(times: Sequence[float | None], lengths: Sequence[float | None]) -> Iterator[tuple[float, float]]:
    """For each frame with a length: the time until the next one, and the length."""
    for before, after, length in zip(times, times[1:], lengths, strict=False):
        if before is not None and after is not None and length:
            yield after - before, length
