"""Edges that a container cuts off: the clean aperture of MOV and MP4, and PixelCrop of Matroska (mkvpropedit sets it).

PyAV 18.1 does not show them, but FFmpeg repeats them in the header of a copy of the stream, as a `clap` box.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from fractions import Fraction
from struct import unpack_from

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_WITH_EDGES = {"mov", "matroska"}
_COPIES = (
    "mov",
    "mp4",
)  # the first takes raw video and ProRes, the second VP9 and FFV1; neither takes VP8, nor PyAV AV1
_BOX = b"\0\0\0\x28clap"


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows and columns of the stored picture that are not shown."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    @property
    def notes(self) -> list[str]:
        """A line if anything is cut off."""
        edges = f"left {self.left}, right {self.right}, top {self.top}, bottom {self.bottom}"
        return [f"its container cuts off its edges: {edges}"] if self else []


def crop_of(container: InputContainer, stream: VideoStream) -> Crop:
    """The edges to cut off a stream that was not yet decoded."""
    if not _WITH_EDGES & set(container.format.name.split(",")):
        return Crop()
    header = next(filter(None, (_header(stream, format) for format in _COPIES)), b"")
    at = header.find(_BOX)
    if at < 0:
        return Crop()
    numbers = unpack_from(">IIIIiIiI", header, at + len(_BOX))
    width, height, right, down = (Fraction(*numbers[i : i + 2]) for i in (0, 2, 4, 6))
    across, along = stream.codec_context.width - width, stream.codec_context.height - height
    left, top = round(across / 2 + right), round(along / 2 + down)
    return Crop(left, round(across) - left, top, round(along) - top)


def cropped(frames: Iterable[VideoFrame], crop: Crop) -> Iterator[VideoFrame]:
    """The same frames without the edges. Frames that are smaller than the edges are unchanged."""
    graph, kind = None, None
    for frame in frames:
        width, height = frame.width - crop.left - crop.right, frame.height - crop.top - crop.bottom
        if not crop or min(width, height) < 1:
            yield frame
            continue
        if graph is None or kind != (frame.width, frame.height, frame.format.name):
            kind = (frame.width, frame.height, frame.format.name)
            graph = _graph(frame, f"{width}:{height}:{crop.left}:{crop.top}:exact=1")
        times = frame.pts, frame.duration, frame.time_base
        graph.vpush(frame)
        shown = graph.vpull()
        shown.pts, shown.duration, shown.time_base = times
        yield shown


def _header(stream: VideoStream, format: str) -> bytes:
    """The header of a file with a copy of the stream; empty if this format does not take it."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=format, options={"movflags": "empty_moov"}) as copy:
            copy.add_stream_from_template(stream)
            copy.start_encoding()
            return file.getvalue()
    except (ValueError, av.FFmpegError):
        return b""


def _graph(frame: VideoFrame, area: str) -> Graph:
    graph = Graph()
    base = frame.time_base or Fraction(1, 25)
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    graph.link_nodes(start, graph.add("crop", area), graph.add("buffersink"))
    graph.configure()
    return graph
