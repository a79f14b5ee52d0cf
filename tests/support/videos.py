"""Videos of many kinds, written with PyAV."""

import io
from collections.abc import Sequence
from fractions import Fraction
from struct import pack

import av
import numpy as np

MS = Fraction(1, 1000)


def levels(num_frames, h=32, w=48):
    """Frame i is plain grey of level 8 i: it differs from its neighbours after any codec."""
    return np.broadcast_to((8 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None], (num_frames, h, w, 3))


def which(frames):
    """The numbers of the frames of `levels`."""
    return [round(float(frame.mean()) / 8) for frame in frames]


def noise(num_frames, h=64, w=64):
    """What does not compress: damage hits any frame."""
    return np.random.default_rng(0).integers(0, 256, (num_frames, h, w, 3), dtype=np.uint8)


def patches(h=64, w=64):
    """Red at the left, white at the right."""
    picture = np.full((h, w, 3), 255, np.uint8)
    picture[:, : w // 2] = (230, 30, 30)
    return picture


def colours(frame):
    """The colours in the middle of the halves of `patches`."""
    h, w = frame.shape[:2]
    return frame[h // 2, w // 4].astype(int), frame[h // 2, 3 * w // 4].astype(int)


def video(
    frames,
    container="matroska",
    codec="libx264",
    pix_fmt="yuv420p",
    rate=24,
    times_ms: Sequence[int] | None = None,
    tags: dict[str, int] | None = None,
    pixel_aspect: Fraction | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    sound: tuple[str, int] | None = None,
    layout: str = "mono",
) -> io.BytesIO:
    """A file with these frames: RGB or RGBA, "t h w c". `sound` is codec and rate of a second of a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, container_options=muxer or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        context = stream.codec_context
        if times_ms is not None:
            context.time_base = MS
        if pixel_aspect is not None:
            stream.sample_aspect_ratio = context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        audio = out.add_stream(sound[0], rate=sound[1], layout=layout) if sound else None
        for i, array in enumerate(frames):
            kind = "rgb24" if array.shape[2] == 3 else "rgba"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=kind)
            frame = frame if pix_fmt == kind else frame.reformat(format=pix_fmt)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[i], MS
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for packet in _tone(audio) if audio else ():
            out.mux(packet)
    return io.BytesIO(file.getvalue())


def without(file: io.BytesIO, container: str, lost: Sequence[int]) -> io.BytesIO:
    """A file with the packets of the first stream of another one, but for those with the numbers `lost`."""
    left = io.BytesIO()
    with av.open(io.BytesIO(file.getvalue())) as whole, av.open(left, "w", format=container) as out:
        stream = out.add_stream_from_template(whole.streams[0])
        for i, packet in enumerate(packet for packet in whole.demux(whole.streams[0]) if packet.size):
            if i not in lost:
                packet.stream = stream
                out.mux(packet)
    return io.BytesIO(left.getvalue())


def with_aperture(file: io.BytesIO, entry: bytes, width: int, height: int, right: int = 0, down: int = 0) -> io.BytesIO:
    """A MOV or MP4 with a clean aperture of this size, moved from the middle; `entry` names the codec, such as avc1."""
    data, start, stop, grown = bytearray(file.getvalue()), 0, len(file.getvalue()), []
    for kind, head in (
        (b"moov", 8),
        (b"trak", 8),
        (b"mdia", 8),
        (b"minf", 8),
        (b"stbl", 8),
        (b"stsd", 16),
        (entry, 86),
    ):
        while data[start + 4 : start + 8] != kind:
            start += int.from_bytes(data[start : start + 4])
        grown.append(start)
        start, stop = start + head, start + int.from_bytes(data[start : start + 4])
    data[stop:stop] = pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    for at in grown:
        data[at : at + 4] = pack(">I", int.from_bytes(data[at : at + 4]) + 40)
    return io.BytesIO(data)


def with_pixel_crop(file: io.BytesIO, left: int, right: int, top: int, bottom: int) -> io.BytesIO:
    """A Matroska file with edges cut off, as mkvpropedit does it."""
    data, start, grown = bytearray(file.getvalue()), 0, []
    for kind in (b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"):  # Segment, Tracks, Track, Video
        while data[start : start + len(kind)] != kind:
            at = start + 9 - len(f"{data[start]:08b}".lstrip("0"))
            length = 9 - len(f"{data[at]:08b}".lstrip("0"))
            start = at + length + (int.from_bytes(data[at : at + length]) & (1 << 7 * length) - 1)
        at = start + len(kind)
        length = 9 - len(f"{data[at]:08b}".lstrip("0"))
        grown.append((at, length))
        start = at + length
    edges = zip((b"\x54\xcc", b"\x54\xdd", b"\x54\xbb", b"\x54\xaa"), (left, right, top, bottom), strict=True)
    data[start:start] = b"".join(name + bytes([0x81, edge]) for name, edge in edges)
    for at, length in grown:
        data[at : at + length] = (int.from_bytes(data[at : at + length]) + 16).to_bytes(length)
    return io.BytesIO(data)


def places(file: io.BytesIO) -> list[int]:
    """The positions of the packets of the first stream, in bytes."""
    with av.open(io.BytesIO(file.getvalue())) as whole:
        return sorted(packet.pos for packet in whole.demux(whole.streams[0]) if packet.size)


def _tone(stream):
    """A second of 440 Hz that is loud from .5 s on."""
    rate = stream.rate
    time = np.arange(rate) / rate
    wave = (np.sin(2 * np.pi * 440 * time) * np.where(time < 0.5, 0, 20_000)).astype(np.int16)
    size = stream.codec_context.frame_size or 1024
    to = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout.name, rate=rate)
    for start in range(0, rate, size):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + size], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for piece in to.resample(frame):
            yield from stream.encode(piece)
    yield from stream.encode(None)


def loud_from(data: bytes) -> float:
    """The time in seconds at which the first audio stream of a file becomes loud."""
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(float)).max(0)
            loud = np.flatnonzero(wave > (0.2 if wave.max() <= 1.5 else 6_000))
            if len(loud):
                return float(frame.time) + int(loud[0]) / frame.sample_rate
    raise AssertionError("it is silent")
