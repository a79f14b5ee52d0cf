"""Pictures that were taken through a mirror: of EXIF's orientation PyAV 18.1 shows the angle alone.

Turned by that angle, the orientations 2, 4, 5 and 7 are right once the stored rows are in reverse.
"""

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from PIL.Image import Exif
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

# By the codec. Not Image.open, which warns of large pictures.
_KINDS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "mjpeg": JpegImageFile,
    "png": PngImageFile,
    "tiff": TiffImageFile,
    "webp": WebPImageFile,
}
_ORIENTATION = 0x0112
_MIRRORED = (2, 4, 5, 7)


def unmirrored(frames: Iterable[VideoFrame], packet: "Packet[Any]") -> Iterator[VideoFrame]:
    """The frames of a packet, with their rows in reverse if it is a picture that EXIF says is mirrored."""
    mirrored = packet.size > 0 and _orientation(packet) in _MIRRORED
    return map(_reversed, frames) if mirrored else iter(frames)


def _orientation(packet: "Packet[Any]") -> int | None:
    """EXIF's, or None. XMP may have another one, which neither FFmpeg nor browsers heed."""
    kind = _KINDS.get(packet.stream.codec_context.name)
    if kind is None:
        return None
    try:
        with kind(io.BytesIO(bytes(packet))) as image:
            if isinstance(image, TiffImageFile):
                return image.tag_v2.get(_ORIENTATION)
            if isinstance(image, PngImageFile):
                image.load()  # it may come after the pixels
            exif = Exif()
            exif.load(image.info.get("exif", b""))
            return exif.get(_ORIENTATION)
    except (SyntaxError, ValueError, OSError, EOFError, struct.error):  # damaged: FFmpeg has found no angle either
        return None


def _reversed(frame: VideoFrame) -> VideoFrame:
    graph = Graph()
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(start, graph.add("vflip"), graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    turned = graph.vpull()
    turned.pts, turned.duration, turned.time_base = frame.pts, frame.duration, frame.time_base
    return turned
