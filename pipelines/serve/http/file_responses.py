"""The files of a take as answers to requests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import accumulate

from fastapi import Request
from fastapi.responses import Response

from longtake.models.domain.span import Span
from longtake.pipelines.serve.http.byte_ranges import ranged
from longtake.pipelines.serve.http.errors import ApiError, not_found
from longtake.pipelines.serve.http.video_service import Desk
from longtake.pipelines.serve.library.paths import folder
from longtake.pipelines.serve.library.takes import Take

PIECE_BYTES = 2**18
MP4 = "video/mp4"


async def file_response(request: Request, desk: Desk, take: Take, path: str, media: str) -> Response:
    """A file of a take that does not change any more. Raises ApiError."""
    return await joined_response(request, desk, take, [path], media, path)


async def joined_response(
    request: Request, desk: Desk, take: Take, paths: Sequence[str], media: str, name: str
) -> Response:
    """Some files of a take, one after the other, as one. Raises ApiError."""
    store = desk.takes.store
    whole = [f"{folder(take.id)}/{path}" for path in paths]
    try:
        sizes = [await asyncio.to_thread(store.size, path) for path in whole]
    except FileNotFoundError:  # deleted a moment ago
        raise not_found(take.id) from None
    starts = [0, *accumulate(sizes)]

    async def read(asked: Span) -> AsyncIterator[bytes]:
        for path, start, size in zip(whole, starts, sizes, strict=False):
            first, last = max(asked.start, start) - start, min(asked.stop, start + size) - start
            for at in range(first, last, PIECE_BYTES):
                yield await asyncio.to_thread(store.get_part, path, at, min(last, at + PIECE_BYTES))

    return ranged(request, starts[-1], f'"{take.id[6:]}-{name}-{starts[-1]}"', media, read)


def no_such_part(name: str, index: int) -> ApiError:
    return ApiError(404, "not_found", f"There is no {name} {index} of this video, or not yet.")


def bytes_response(request: Request, take: Take, name: str, data: bytes, media: str = MP4) -> Response:
    """As `file_response`, of bytes that were read. Raises ApiError."""

    async def read(asked: Span) -> AsyncIterator[bytes]:
        yield data[asked.frames]

    return ranged(request, len(data), f'"{take.id[6:]}-{name}-{len(data)}"', media, read)
