"""A decoded frame as people see it: square pixels, upright, no transparency, SDR.

Shapes: h w rows and columns, c channels (red, green, blue, and alpha as a fourth).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8, UInt16

from longtake.models.video.colour import is_usual, to_sdr
from longtake.models.video.yuv import pixels_of

GROUND = 255  # white, like the paper under a sticker
PIXEL_ASPECTS = Fraction(1, 4), Fraction(4)  # real ones are from 0.5 to 2, others are broken headers
SAME_SHAPE = 0.02


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn that makes a picture upright: transposed first, then mirrored. `exact` is false for odd angles."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False
    exact: bool = True

    def __call__(self, rgb: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
        upright = rgb.transpose(1, 0, 2) if self.transposed else rgb
        upright = upright[::-1] if self.rows_reversed else upright
        return np.ascontiguousarray(upright[:, ::-1] if self.columns_reversed else upright)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the turn. Given those of the upright picture, it returns those of the stored one."""
        return (height, width) if self.transposed else (width, height)


def side_data(frame: VideoFrame, kind: Type, stream: VideoStream) -> bytes | None:
    """The data of one kind that FFmpeg keeps beside the pixels; None without it."""
    # PyAV 18.1 frees names in side data twice, which causes a crash later. Only these two decoders give names.
    if stream.codec_context.name in ("png", "apng"):
        return None
    try:
        kept: Mapping[Any, Any] = frame.side_data
    except ValueError:  # PyAV 18.1 raises for all side data if it does not know one kind, such as EXIF
        return None
    return bytes(kept[kind]) if kind in kept else None


def turn_of(frame: VideoFrame, stream: VideoStream) -> Turn:
    """From the frame's display matrix [a b . c d ...]: a point (x, y) is shown at (a x + c y, b x + d y)."""
    data = side_data(frame, Type.DISPLAYMATRIX, stream)
    if data is None:
        quarters = round(frame.rotation / 90) % 4
        return Turn(quarters % 2 == 1, rows_reversed=quarters in (1, 2), columns_reversed=quarters in (2, 3))
    matrix = np.frombuffer(data, np.int32)
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    along, across = ((c, b), (a, d)) if transposed else ((a, d), (b, c))
    exact = max(map(abs, across)) <= SAME_SHAPE * max(map(abs, along))
    return Turn(transposed, rows_reversed=along[1] < 0, columns_reversed=along[0] < 0, exact=exact)


def shown_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height of the frame with square pixels, before it is turned.

    One side grows and the other stays, as in browsers: no detail is lost.
    """
    width, height = frame.width, frame.height
    if pixel_aspect is None or not PIXEL_ASPECTS[0] <= pixel_aspect <= PIXEL_ASPECTS[1]:
        return width, height
    return (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))


def is_transparent(frame: VideoFrame) -> bool:
    """Whether any pixel is not fully opaque."""
    return _has_alpha(frame) and bool((pixels_of(frame, "rgba")[..., 3] < 255).any())


def picture(
    frame: VideoFrame, stream: VideoStream, pixel_aspect: Fraction | None, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """The frame as RGB. If `size` (width, height) has another shape, black bars are added: circles stay circles."""
    turn, shown = turn_of(frame, stream), shown_size(frame, pixel_aspect)
    wanted = shown if size is None else turn.size(*size)
    scales = wanted[0] / shown[0], wanted[1] / shown[1]
    if max(scales) <= min(scales) * (1 + SAME_SHAPE):
        return turn(_rgb(frame, *wanted))
    inner = max(1, round(shown[0] * min(scales))), max(1, round(shown[1] * min(scales)))
    whole = np.zeros((wanted[1], wanted[0], 3), np.uint8)
    left, top = (wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2
    whole[top : top + inner[1], left : left + inner[0]] = _rgb(frame, *inner)
    return turn(whole)


def _rgb(frame: VideoFrame, width: int, height: int) -> UInt8[np.ndarray, "h w c"]:
    alpha, usual = _has_alpha(frame), is_usual(frame.color_trc, frame.color_primaries)
    if not alpha and usual:
        return pixels_of(frame, "rgb24", width, height)
    pixels = pixels_of(frame, ("rgba" if usual else "rgba64le") if alpha else "rgb48le")
    rgb = pixels[..., :3] if usual else to_sdr(pixels[..., :3], frame.color_trc, frame.color_primaries)
    rgb = _on_ground(rgb, pixels[..., 3:]) if alpha else rgb
    if (width, height) == (frame.width, frame.height):
        return rgb
    return pixels_of(VideoFrame.from_ndarray(rgb, format="rgb24"), "rgb24", width, height)


def _on_ground(
    rgb: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w 1"] | UInt16[np.ndarray, "h w 1"]
) -> UInt8[np.ndarray, "h w 3"]:
    opaque = np.iinfo(alpha.dtype).max
    share = alpha.astype(np.int64)
    return ((rgb * share + GROUND * (opaque - share) + opaque // 2) // opaque).astype(np.uint8)


def _has_alpha(frame: VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
