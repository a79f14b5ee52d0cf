"""The sound of a video, for an mp4 whose frames were made from it, and a note on anything else in its file.

Streams that mp4 players support are copied; others are converted to AAC. Time 0 is the first frame of the video.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from longtake.models.video.reader import VideoReader

AS_THEY_ARE = frozenset(("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"))
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # by the number of channels
AAC_FRAME = 1024  # samples
BEFORE_S = 0.1  # sound before the first frame that is kept but not heard: decoders need some to start


class Sound:
    """The audio streams that a video keeps. `notes` says what is left out or converted."""

    def __init__(self, reader: VideoReader, fps: float | Fraction) -> None:
        """`fps` is the rate at which the frames of `reader` will play; at any rate but their own, sound is left out."""
        self._reader = reader
        same = Fraction(fps).limit_denominator(1001) == reader.fps.limit_denominator(1001)
        self._goes_along = same and reader.keeps_clock
        with reader.opened() as (container, video):
            names = [_name(stream) for stream in _known(container)]
            begins = [_begin_s(stream) for stream in _known(container)]
            mixed = [f"{_name(stream)} of {stream.layout.nb_channels} channels" for stream in _mixed(container)]
            self.notes = _others(container, video)
        self.is_kept = bool(names) and self._goes_along  # whether any goes into the output
        if names and not self._goes_along:
            why = "the times of its frames are unknown" if same else f"the output is not at its {_text(reader.fps)} fps"
            self.notes.append(f"its sound is left out: {', '.join(names)}, because {why}")
        early = reader.start_s - min(begins, default=reader.start_s)
        if self._goes_along and early > BEFORE_S:
            self.notes.append(f"its sound before the first frame is left out: {early:.1f} s")
        changed = [name for name in names if name not in AS_THEY_ARE]
        if changed and self._goes_along:
            self.notes.append(f"its sound is converted to AAC: {', '.join(changed)} is not for mp4")
        if mixed and self._goes_along:
            self.notes.append(f"its sound is mixed down to stereo: {', '.join(mixed)}")

    @contextmanager
    def tracks(self, length_s: float) -> "Iterator[list[Track]]":
        """The sound of the first `length_s`, all of it for exactly the whole video; muxed while the block is open.

        Where frames follow the video, sound behind their end is left out: a packet that claims to begin hours later
        would give as much silence.
        """
        is_whole = abs(length_s * self._reader.fps - self._reader.num_frames) < 0.5
        with self._reader.opened() as (container, _):
            length_s = float("inf") if is_whole else length_s
            yield _read(container, self._reader.start_s, length_s) if self._goes_along else []


@dataclass(slots=True)
class Track:
    """One audio stream: its packets, shifted so that the video begins at 0, and where they end."""

    stream: AudioStream
    packets: "list[Packet[AudioStream]]"
    length_s: float = 0.0

    @property
    def num_packets(self) -> int:
        """The most packets that it can have in the mp4."""
        if self._goes_as_it_is:
            return len(self.packets)
        return int(self.length_s * AAC_RATES[-1] / AAC_FRAME) + 16

    @property
    def _goes_as_it_is(self) -> bool:
        return _name(self.stream) in AS_THEY_ARE

    def packets_of(self, container: OutputContainer) -> "Iterator[Packet[Any]]":
        """Adds a stream for the track at once, and returns its packets in order."""
        out: Any
        if self._goes_as_it_is:
            out = container.add_stream_from_template(self.stream)
            out.metadata.update(_language(self.stream))
            return _moved(self.packets, out)
        rate = self.stream.rate if self.stream.rate in AAC_RATES else AAC_RATES[-1]
        layout = AAC_LAYOUTS.get(self.stream.layout.nb_channels, "stereo")
        out = container.add_stream("aac", rate=rate, layout=layout)
        out.metadata.update(_language(self.stream))
        return _as_aac(self, out)


def _moved(packets: "list[Packet[AudioStream]]", out: AudioStream) -> "Iterator[Packet[Any]]":
    for packet in packets:
        packet.stream = out
        yield packet


def _as_aac(track: Track, out: Any) -> "Iterator[Packet[Any]]":
    """Encodes a track. Gaps become silence, so that sound and picture stay in sync."""
    frames = _decoded(track)
    first = next(frames, None)
    if first is None:
        return
    graph, base = Graph(), track.stream.time_base or Fraction(1, first.sample_rate)
    kind = first.format.name, first.layout.name, first.sample_rate
    filters = [
        graph.add_abuffer(format=kind[0], layout=kind[1], sample_rate=kind[2], time_base=base),
        graph.add("aresample", f"{out.rate}:async=1:first_pts=0"),
        graph.add("atrim", f"end={track.length_s:.6f}"),
        graph.add("aformat", f"sample_fmts=fltp:sample_rates={out.rate}:channel_layouts={out.layout.name}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*filters).configure()
    graph.set_audio_frame_size(AAC_FRAME)
    for frame in chain(_alike(chain([first], frames), kind, base), [None]):
        graph.push(frame)
        while True:
            try:
                ready = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            yield from out.encode(ready)
    yield from out.encode(None)


def _alike(frames: Iterable[AudioFrame], kind: tuple[str, str, int], base: Fraction) -> Iterator[AudioFrame]:
    """Frames of one format, layout and rate: broadcasts change theirs, and a filter takes no others than its first."""
    own, resampler = kind, None
    for frame in frames:
        if own != (frame.format.name, frame.layout.name, frame.sample_rate):
            own = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = None if own == kind else AudioResampler(*kind)
        if resampler is None:
            yield frame
            continue
        for piece in resampler.resample(frame):
            if piece.time is not None:
                piece.pts, piece.time_base = round(piece.time / base), base
            yield piece


def _decoded(track: Track) -> Iterator[AudioFrame]:
    for packet in track.packets:
        try:
            yield from packet.decode()
        except av.FFmpegError:  # damaged: a gap
            continue
    yield from track.stream.codec_context.decode(None)


def _known(container: InputContainer) -> list[AudioStream]:
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def _mixed(container: InputContainer) -> list[AudioStream]:
    """Streams of which some channels are not kept apart."""
    known = [stream for stream in _known(container) if _name(stream) not in AS_THEY_ARE]
    return [stream for stream in known if stream.layout.nb_channels not in AAC_LAYOUTS]


def _read(container: InputContainer, start_s: float, length_s: float) -> list[Track]:
    streams = _known(container)
    tracks = {stream.index: Track(stream, []) for stream in streams}
    try:
        for packet in container.demux(streams) if streams else ():
            if packet.pts is None or not packet.size:
                continue
            begin = float(packet.pts * packet.time_base) - start_s
            end = begin + float((packet.duration or 0) * packet.time_base)
            if end > -BEFORE_S and begin < length_s:
                offset = round(start_s / packet.time_base)
                packet.pts -= offset
                packet.dts = packet.pts if packet.dts is None else packet.dts - offset
                track = tracks[packet.stream_index]
                track.packets.append(cast(Any, packet))
                track.length_s = min(length_s, max(track.length_s, end))
    except (av.FFmpegError, IndexError):  # the container breaks off, or streams begin in the middle, as for its frames
        pass
    return [track for track in tracks.values() if track.packets]


def _others(container: InputContainer, video: VideoStream) -> list[str]:
    """A note on what is neither frames nor sound, and so is not in the output."""
    found: Counter[str] = Counter()
    known = _known(container)
    for stream in container.streams:
        if stream.type == "video" and stream is not video and stream.disposition & Disposition.attached_pic:
            found["cover"] += 1
        elif stream.type == "audio" and stream not in known:
            found["audio stream of an unknown codec"] += 1
        elif stream.type not in ("video", "audio"):
            found[f"{stream.type} stream"] += 1
    found["chapter"] = len(container.chapters())
    listed = [f"{count} {what}" for what, count in found.items() if count]
    return [f"not in the output: {', '.join(listed)}"] if listed else []


def _begin_s(stream: AudioStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _language(stream: AudioStream) -> dict[str, str]:
    return {"language": stream.language} if stream.language else {}


def _name(stream: AudioStream) -> str:
    return stream.codec.canonical_name


def _text(rate: Fraction) -> str:
    return f"{float(rate):.5g}"
