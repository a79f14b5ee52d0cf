"""A response with a file or a part of it (RFC 9110): conditions, one range and HEAD.

Conditions are evaluated in the order of section 13.2.2; the first that applies decides:

1. `If-Match`: 412 unless the client has these bytes. Without it, `If-Unmodified-Since`: 412 for later ones.
2. `If-None-Match`: 304 if the client has these bytes. Without it, `If-Modified-Since`: 304 unless they are later.
3. `Range`, unless `If-Range` names other bytes: 206, or 416 outside the file.

Only the bytes that are sent are read.
"""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from longtake.models.domain.span import Span
from longtake.pipelines.serve.http.errors import ApiError

Read = Callable[[Span], AsyncIterator[bytes]]
REVALIDATE = "private, max-age=0, must-revalidate"
_RANGE = re.compile(r"bytes=([0-9]{0,99})-([0-9]{0,99})")
_TAG = re.compile(r'(W/)?("[^"]*")')


def range_response(
    request: Request, size: int, etag: str, modified: int, media: str, read: Read, cache: str = REVALIDATE
) -> Response:
    """The response with `size` bytes, which never change while `etag` stays the same. Raises ApiError 412 and 416.

    `modified` is the time of the last change, in Unix seconds.
    """
    headers = {"ETag": etag, "Last-Modified": http_date(modified), "Cache-Control": cache}
    check_match(request, etag, modified)
    if _is_known(request, etag, modified):
        return Response(status_code=304, headers=headers)
    part = _requested_part(request, size, etag, modified)
    span = part or Span(0, size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(len(span))}
    if part is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media)
    return StreamingResponse(read(span), status, headers, media)


def check_match(request: Request, etag: str | None, modified: int | None = None) -> None:
    """Raises ApiError 412 if the client asks for other bytes than these. `etag` is None while it cannot be known."""
    wanted = _header(request, "if-match")
    if wanted is not None:
        known = {tag for weak, tag in _TAG.findall(wanted) if not weak}  # only a strong tag says that bytes are equal
        holds, name = wanted.strip() == "*" or etag in known, "If-Match"
    else:
        since = _time(request, "if-unmodified-since")
        holds, name = since is None or modified is None or modified <= since, "If-Unmodified-Since"
    if not holds:
        raise ApiError(412, "precondition_failed", f"{name}: this is another version of the file.", name)


def http_date(seconds: int) -> str:
    """Unix seconds as a date in a header."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def _is_known(request: Request, etag: str, modified: int) -> bool:
    known = _header(request, "if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in {tag for _, tag in _TAG.findall(known)}
    since = _time(request, "if-modified-since")
    return since is not None and modified <= since


def _requested_part(request: Request, size: int, etag: str, modified: int) -> Span | None:
    """The requested range. None for the whole: no range, one that a server may ignore, or one of other bytes."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", "").lower())
    same = request.headers.get("if-range", etag).strip()
    if match is None or same not in (etag, http_date(modified)):
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


def _header(request: Request, name: str) -> str | None:
    """All headers of this name as one list; None without any."""
    return ", ".join(request.headers.getlist(name)) or None


def _time(request: Request, name: str) -> float | None:
    """A header that is a date, in Unix seconds; None for any other, which is ignored."""
    try:
        return parsedate_to_datetime(request.headers[name]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
