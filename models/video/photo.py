"""Photos, as far as PyAV 18.1 does not show what they say of themselves.

Of EXIF's orientation it shows the angle alone. Turned by that, the orientations 2, 4, 5 and 7 are right once the stored
rows are in reverse. Of a JPEG with several pictures (MPF: a map of brightness, the view of the other eye) it decodes
all, but viewers show the first one.
"""

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Photo:
    """Facts about the picture in a packet."""

    is_mirrored: bool = False
    has_others: bool = False  # behind it, in the same photo

    def unmirrored(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The frames of the packet; the rows of a mirrored picture are in reverse."""
        return map(_reversed, frames) if self.is_mirrored else iter(frames)


def photo_of(packet: "Packet[Any]") -> Photo:
    """By its own header; the default for what is no photo, or none that can be read."""
    kind = _KINDS.get(packet.stream.codec_context.name)
    if kind is None or not packet.size:
        return Photo()
    try:
        with kind(io.BytesIO(bytes(packet))) as image:
            return Photo(_orientation(image) in _MIRRORED, "mp" in image.info)
    except (SyntaxError, ValueError, OSError, EOFError, struct.error):  # damaged: FFmpeg has found no angle either
        return Photo()


def _orientation(image: ImageFile) -> int | None:
    """EXIF's, or None. XMP may have another one, which neither FFmpeg nor browsers heed."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2.get(_ORIENTATION)
    if isinstance(image, PngImageFile):
        image.load()  # it may come after the pixels
    exif = Exif()
    exif.load(image.info.get("exif", b""))
    return exif.get(_ORIENTATION)


def _reversed(frame: VideoFrame) -> VideoFrame:
    graph = Graph()
    start = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(start, graph.add("vflip"), graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    turned = graph.vpull()
    turned.pts, turned.duration, turned.time_base = frame.pts, frame.duration, frame.time_base
    return turned
