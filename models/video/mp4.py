"""Frames in, H.264 in an mp4 out, as bytes; and back. The same frames give the same bytes.

1. One x264 thread: its output depends on the number of threads, whose default is the machine's number of cores.
2. No mbtree: it computes in floats, and AVX-512 rounds them in another order. Without it SSSE3, SSE4.2, AVX, AVX2 and
   AVX-512 were measured to give the same bytes; plain C and SSE2 agree on others.
3. Preset, crf and GOP are fixed here; no date and no version of the muxer is written (`fflags=bitexact`).
4. RGB becomes YUV in integer arithmetic (`yuv.py`): swscale rounds differently from one CPU to the next.
5. Pixels are written and tagged as BT.709, limited range, at every size, so players need not guess.

Every call of `encode()` starts a new x264 and drains it: a fragment is a function of its own frames and its place
alone, so it can be encoded anywhere, in any order, or twice. It begins with a key frame and has no B-frames, whose
reordering delay would cross its end.

Mp4Encoder   ftyp, moov, then one moof + mdat for each `encode()`, returned by that very call. Any prefix plays.
plain()      moov, mdat: the same packets with the index in front of the data, so that a browser starts before it has
             the whole file.

80 frames of 128x128 with motion all over take 88 kB in fragments of 16 (one x264 for all of it, with B-frames: 72 kB).
They come back at 38 dB, and chroma at half resolution alone would at 37 to 39.

Shapes: t frames, h w rows and columns, c = 3 channels (red, green, blue).
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from heapq import merge
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from jaxtyping import UInt8

from longtake.models.video.sound import Sound
from longtake.models.video.yuv import pixels_of, rgb_to_yuv420p

X264_OPTIONS = {
    "preset": "fast",
    "bf": "0",
    "crf": "18",
    "g": "48",  # frames between key frames at most: how finely a player can seek
    "x264-params": "threads=1:lookahead-threads=1:sliced-threads=0:mbtree=0",
}
FRAGMENT_FLAGS = "frag_custom+empty_moov+default_base_moof+frag_discont+skip_trailer"


class Mp4Encoder:
    """One fragmented video, segment by segment: the bytes that `encode(frames)` returns, in order, are the file."""

    def __init__(self, fps: int | float | Fraction, width: int, height: int) -> None:
        """`fps` in frames per second (a float becomes the nearest fraction up to n/1001); `width`, `height` in pixels.

        Raises ValueError for an odd width or height and for an fps outside 0.01 to 1000.
        """
        for name, size in (("width", width), ("height", height)):
            if size < 2 or size % 2:
                raise ValueError(f"{name}={size}: H.264 in yuv420p needs an even number of pixels, at least 2")
        if not 0.01 <= fps <= 1000:
            raise ValueError(f"fps={fps}: must be from 0.01 to 1000 frames per second")
        self.fps = Fraction(fps).limit_denominator(1001)
        self.width, self.height = width, height
        self.num_frames = 0
        self._num_fragments = 0

    def encode(self, frames: UInt8[np.ndarray, "t h w c"]) -> bytes:
        """The fragment of these frames; nothing for none."""
        if frames.shape[1:] != (self.height, self.width, 3):
            raise ValueError(f"frames.shape={frames.shape}: must be (t, {self.height}, {self.width}, 3)")
        if not len(frames):
            return b""
        fragment = encode_fragment(frames, self.fps, self.num_frames, self._num_fragments)
        self.num_frames += len(frames)
        self._num_fragments += 1
        return fragment


def encode_fragment(frames: UInt8[np.ndarray, "t h w c"], fps: Fraction, start: int, index: int) -> bytes:
    """Fragment `index` of a video, whose first frame is frame `start`; the first one begins with ftyp and moov."""
    _, height, width, _ = frames.shape
    # avoid_negative_ts: without it FFmpeg moves every fragment to time 0
    flags = {"movflags": FRAGMENT_FLAGS, "fragment_index": str(index + 1), "avoid_negative_ts": "disabled"}
    buffer = io.BytesIO()
    with _open(buffer, fps, flags) as container:
        stream = _x264(container, fps, width, height)
        packets: list[Packet[VideoStream]] = []
        for number, rgb in enumerate(frames, start):
            frame = VideoFrame.from_ndarray(rgb_to_yuv420p(rgb), format="yuv420p")
            frame.pts, frame.time_base = number, 1 / fps
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            packet.duration = 1
            container.mux(packet)
    return buffer.getvalue() if index == 0 else split_head(buffer.getvalue())[1]


def plain(fragments: Sequence[bytes], sound: Sound | None = None) -> bytes:
    """All fragments of a video as an mp4 with its index in front; the packets stay unchanged. `sound` is added.

    The video is in memory about three times over (measured with 60 MB).
    """
    buffer = io.BytesIO()
    with ExitStack() as opened:
        source = opened.enter_context(av.open(io.BytesIO(b"".join(fragments)), "r"))
        read = source.streams.video[0]
        packets = [packet for packet in source.demux(read) if packet.size]
        fps = read.average_rate
        assert fps is not None, "our own fragments have a rate"
        tracks = opened.enter_context(sound.tracks(float(len(packets) / fps))) if sound else []
        room = _room(packets) + _room_for_sound(len(packets), [track.num_packets for track in tracks])
        container = opened.enter_context(_open(buffer, fps, {"moov_size": str(room)}))
        stream = container.add_stream_from_template(read)
        others = [track.packets_of(container) for track in tracks]
        for packet in packets:
            packet.stream = stream
        for packet in merge(packets, *others, key=_time) if others else packets:
            container.mux(packet)
    return buffer.getvalue()


def _room(packets: "Sequence[Packet[VideoStream]]") -> int:
    """Bytes for the index in front; a `free` box fills what is left.

    16 a packet (ctts, stsz, stss), 20 a chunk (stsc, co64; a chunk is about 1 MiB or one large packet), and less than
    1 KiB for the rest.
    """
    num_chunks = min(len(packets), sum(packet.size for packet in packets) >> 18)
    return 1024 + 16 * len(packets) + 20 * num_chunks


def _room_for_sound(num_frames: int, num_packets: Sequence[int]) -> int:
    """Bytes that sound tracks of so many packets add to the index: a chunk ends where another track comes between."""
    counts = [num_frames, *num_packets]
    chunks = sum(min(count, sum(counts) - count) + 1 for count in counts) if num_packets else 0
    return 20 * chunks + sum(1024 + 16 * count for count in num_packets)


def _time(packet: "Packet[Any]") -> Fraction:
    return Fraction(packet.dts or 0) * packet.time_base


def split_head(fragment: bytes) -> tuple[bytes, bytes]:
    """The first fragment's ftyp and moov, with which any other one plays as well, and the rest of it."""
    ftyp = int.from_bytes(fragment[:4])  # a box begins with its length
    moov = int.from_bytes(fragment[ftyp : ftyp + 4])
    return fragment[: ftyp + moov], fragment[ftyp + moov :]


def _open(buffer: io.BytesIO, fps: Fraction, mux: dict[str, str]) -> OutputContainer:
    options = {"fflags": "+bitexact", "video_track_timescale": str(_timescale(fps)), **mux}
    return av.open(buffer, "w", format="mp4", container_options=options)


def _x264(container: OutputContainer, fps: Fraction, width: int, height: int) -> VideoStream:
    stream = container.add_stream("libx264", rate=fps, options=X264_OPTIONS)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / fps
    context.thread_count = 1
    context.colorspace, context.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
    context.color_primaries, context.color_trc = int(ColorPrimaries.BT709), int(ColorTrc.BT709)
    return stream


def _timescale(fps: Fraction) -> int:
    """Ticks per second in the mp4: a multiple of the rate, fine enough that a frame is a whole number of them."""
    return fps.numerator * -(-10_000 // fps.numerator)


def decode(source: str | PathLike[str] | BinaryIO) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """The frames of an mp4 that Longtake wrote, as they are. Any other video needs `reader.py`."""
    with ExitStack() as opened:
        file = opened.enter_context(Path(source).open("rb")) if isinstance(source, str | PathLike) else source
        container = opened.enter_context(av.open(file, "r"))
        for frame in container.decode(container.streams.video[0]):
            yield pixels_of(frame, "rgb24")
