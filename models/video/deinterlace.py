"""Deinterlacing: a frame woven from two half pictures of two moments becomes one picture of the first moment."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame

SMALLEST = 3  # rows and columns that the filter needs


def deinterlaced(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """The same number of frames: those flagged as interlaced go through FFmpeg's bwdif, others are unchanged."""
    graph, kind = None, None
    for number, frame in enumerate(frames):
        if min(frame.width, frame.height) < SMALLEST:
            yield frame
            continue
        if kind != (frame.width, frame.height, frame.format.name):
            yield from _rest(graph)
            graph, kind = _graph(frame), (frame.width, frame.height, frame.format.name)
        assert graph is not None, "made above"
        frame.pts, frame.time_base = number, Fraction(1, 25)  # the filter needs timestamps; nothing else reads them
        graph.vpush(frame)
        yield from _ready(graph)
    yield from _rest(graph)


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(start, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return


def _rest(graph: Graph | None) -> Iterator[VideoFrame]:
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph)
