"""Responses with files: those of a take, and those of the page."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from itertools import accumulate
from mimetypes import guess_type
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

from longtake.models.domain.span import Span
from longtake.pipelines.serve.http.byte_ranges import Read, range_response
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.http.video_states import lacks
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
        sizes = await asyncio.gather(*(asyncio.to_thread(store.size, path) for path in full_paths))
    except FileNotFoundError:  # deleted a moment ago, or lost
        raise lacks(service.find(take.id, take.owner), f"its {name}") from None
    starts = [0, *accumulate(sizes)]

    async def read(part: Span) -> AsyncIterator[bytes]:
        for path, start, size in zip(full_paths, starts, sizes, strict=False):
            first, last = max(part.start, start) - start, min(part.stop, start + size) - start
            for at in range(first, last, READ_BYTES):
                yield await asyncio.to_thread(store.get_part, path, at, min(last, at + READ_BYTES))

    etag = f'"{take.id[6:]}-{name}-{starts[-1]}"'
    return range_response(request, starts[-1], etag, _modified(take), media, read)


def bytes_response(request: Request, take: Take, name: str, data: bytes, media: str = MP4) -> Response:
    """As `file_response`, of bytes in memory. Raises ApiError."""
    etag = f'"{take.id[6:]}-{name}-{len(data)}"'
    return range_response(request, len(data), etag, _modified(take), media, _reader(data))


async def page_response(request: Request, path: Path) -> Response:
    """A file of the page. A browser asks each time whether it has changed. Raises ApiError."""
    data, modified = await asyncio.to_thread(lambda: (path.read_bytes(), int(path.stat().st_mtime)))
    media = guess_type(path.name)[0] or "application/octet-stream"
    etag = f'"{sha256(data).hexdigest()[:32]}"'
    return range_response(request, len(data), etag, modified, media, _reader(data), "no-cache")


def _reader(data: bytes) -> Read:
    async def read(part: Span) -> AsyncIterator[bytes]:
        yield data[part.start : part.stop]

    return read


def _modified(take: Take) -> int:
    """The time from which on the files of a take no longer change."""
    return take.completed_at or take.created_at
