"""Pieces of a video as bytes: fragments of an mp4, pictures, files to resume from.

The same piece gives the same bytes on every machine.
"""

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from longtake.models.domain.extension import Extension
from longtake.models.domain.span import Span
from longtake.models.domain.state import Boundary, Chunk, HeldFrames, Memory, Segment
from longtake.models.video.mp4 import decode, encode_fragment, split_head
from longtake.models.video.sheet import draw_sheet, sheet_numbers


def visible_frames(piece: Segment | Chunk, num_frames: int) -> UInt8[np.ndarray, "t h w c"]:
    """The frames of a piece inside a video of `num_frames`: the base model may run past its end."""
    return piece.frames[: max(0, num_frames - piece.span.start)]


def seen_of(chunk: Chunk, extension: Extension) -> Chunk:
    """A chunk as viewers of a continued video see it: without frames before its first one, from which they count."""
    span = extension.shown(chunk.span)
    return Chunk(span, chunk.frames[len(chunk.frames) - len(span) :])


def fragment_of(piece: Segment | Chunk, fps: int | Fraction, index: int, num_frames: int) -> bytes:
    """Fragment `index` of an mp4 of `num_frames` frames; empty for a piece past its end."""
    frames = visible_frames(piece, num_frames)
    return encode_fragment(frames, Fraction(fps), piece.span.start, index) if len(frames) else b""


def pack_chunk(memory: Memory, chunk: Chunk) -> bytes:
    """The output of the base model for a chunk, to resume after it, bit for bit."""
    span = np.array([chunk.span.start, chunk.span.stop])
    return _npz(anchor=memory.anchor, last=memory.last, frames=chunk.frames, span=span)


def unpack_chunk(data: bytes) -> tuple[Memory, Chunk]:
    """Inverse of `pack_chunk`. Raises ValueError, KeyError or zipfile.BadZipFile for anything else."""
    with np.load(io.BytesIO(data)) as kept:
        start, stop = (int(frame) for frame in kept["span"])
        return Memory(kept["anchor"], kept["last"]), Chunk(Span(start, stop), kept["frames"])


def pack_boundary(boundary: Boundary) -> bytes:
    """The predictions that the next window needs, bit for bit."""
    steps = np.array([boundary.window, boundary.steps.start, boundary.steps.stop])
    first = {} if boundary.first is None else {"first": boundary.first}
    return _npz(steps=steps, last=boundary.last, **first)


def unpack_boundary(data: bytes) -> Boundary:
    """Inverse of `pack_boundary`. Raises as `unpack_chunk`."""
    with np.load(io.BytesIO(data)) as kept:
        window, start, stop = (int(number) for number in kept["steps"])
        first = kept.get("first")
        return Boundary(window, Span(start, stop), first, kept["last"])


def pack_held(held: HeldFrames) -> bytes:
    """Frames of a video that is continued, bit for bit."""
    return _npz(window=np.array(held.window), frames=held.frames)


def unpack_held(data: bytes) -> HeldFrames:
    """Inverse of `pack_held`. Raises as `unpack_chunk`."""
    with np.load(io.BytesIO(data)) as kept:
        return HeldFrames(int(kept["window"]), kept["frames"])


def sheet_of(video: bytes, num_frames: int) -> UInt8[np.ndarray, "h w c"]:
    """A contact sheet of an mp4."""
    numbers = sheet_numbers(num_frames)
    frames = [frame for i, frame in enumerate(decode(io.BytesIO(video))) if i in numbers]
    return draw_sheet(numbers, {"video": np.stack(frames)})


def sheet_of_fragments(
    fragments: Sequence[bytes], starts: Sequence[int], num_frames: int
) -> UInt8[np.ndarray, "h w c"]:
    """As `sheet_of`, from fragments that begin at the frames `starts`. Decodes only those that the sheet shows."""
    numbers, frames = sheet_numbers(num_frames), []
    head, first = split_head(fragments[0])
    for index, start in enumerate(starts):
        stop = starts[index + 1] if index + 1 < len(starts) else num_frames
        wanted = [number - start for number in numbers if start <= number < stop]
        if wanted:
            piece = io.BytesIO(head + (fragments[index] if index else first))
            decoded = list(islice(decode(piece), wanted[-1] + 1))
            frames += [decoded[i] for i in wanted]
    return draw_sheet(numbers, {"video": np.stack(frames)})


def jpeg(frame: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A picture as JPEG, for people."""
    return _image(frame, "jpeg", quality=90)


def png(frame: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A picture as PNG, without loss."""
    return _image(frame, "png")


def _image(frame: UInt8[np.ndarray, "h w c"], kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind, **options)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
