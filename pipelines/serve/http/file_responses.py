"""Responses with the files of a take."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import accumulate

from fastapi import Request
from fastapi.responses import Response

from longtake.models.domain.span import Span
from longtake.pipelines.serve.http.byte_ranges import range_response
from longtake.pipelines.serve.http.errors import not_found
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.library.paths import path_of
from longtake.pipelines.serve.library.takes import Take

READ_BYTES = 2**18  # at a time
MP4 = "video/mp4"


async def file_response(request: Request, service: VideoService, take: Take, path: str, media: str) -> Response:
    """A file of a take that no longer changes. Raises ApiError."""
    return await joined_response(request, service, take, [path], media, path)


async def joined_response(
    request: Request, service: VideoService, take: Take, paths: Sequence[str], media: str, name: str
) -> Response:
    """Files of a take, one after the other, as one. Raises ApiError."""
    store = service.takes.store
    full_paths = [path_of(take.id, path) for path in paths]
    try:
        sizes = [await asyncio.to_thread(store.size, path) for path in full_paths]
    except FileNotFoundError:  # deleted a moment ago
        raise not_found(take.id) from None
    starts = [0, *accumulate(sizes)]

    async def read(part: Span) -> AsyncIterator[bytes]:
        for path, start, size in zip(full_paths, starts, sizes, strict=False):
            first, last = max(part.start, start) - start, min(part.stop, start + size) - start
            for at in range(first, last, READ_BYTES):
                yield await asyncio.to_thread(store.get_part, path, at, min(last, at + READ_BYTES))

    return range_response(request, starts[-1], f'"{take.id[6:]}-{name}-{starts[-1]}"', media, read)


def bytes_response(request: Request, take: Take, name: str, data: bytes, media: str = MP4) -> Response:
    """As `file_response`, of bytes in memory. Raises ApiError."""

    async def read(part: Span) -> AsyncIterator[bytes]:
        yield data[part.frames]

    return range_response(request, len(data), f'"{take.id[6:]}-{name}-{len(data)}"', media, read)
