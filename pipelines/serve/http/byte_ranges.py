"""A response with a file or a part of it (RFC 9110): one range, `If-None-Match`, `If-Range` and HEAD.

Only the bytes that are sent are read.
"""

import re
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from longtake.models.domain.span import Span
from longtake.pipelines.serve.http.errors import ApiError

Read = Callable[[Span], AsyncIterator[bytes]]
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def range_response(request: Request, size: int, etag: str, media: str, read: Read) -> Response:
    """The response with `size` bytes, which never change while `etag` stays the same. Raises ApiError 416."""
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "private, max-age=0, must-revalidate"}
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    part = _requested_part(request, size, etag)
    span = part or Span(0, size)
    headers["Content-Length"] = str(len(span))
    if part is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media)
    return StreamingResponse(read(span), status, headers, media)


def _requested_part(request: Request, size: int, etag: str) -> Span | None:
    """The requested range. None for the whole: no range, one that a server may ignore, or one of other bytes."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= stop:
        refusal = ApiError(416, "range_not_satisfiable", f"Range: the file has only {size} bytes.", "range")
        refusal.headers["Content-Range"] = f"bytes */{size}"
        raise refusal
    return Span(start, stop)


def _matches(header: str, etag: str) -> bool:
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return etag in names or names == ["*"]
