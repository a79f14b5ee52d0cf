"""A video while it is made: as one stream of bytes, as events, and the one that a request waits for."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response

from longtake.pipelines.serve.http.dependencies import Owner, TheDesk, TheTake
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.file_responses import MP4, file_response, joined_response, no_such_part
from longtake.pipelines.serve.http.live_feed import (
    FRAGMENT,
    PREVIEW,
    Kind,
    count_fragments,
    events,
    fragments,
    is_last,
    name_of,
    with_heartbeats,
)
from longtake.pipelines.serve.http.request_body import described, read, refusals
from longtake.pipelines.serve.http.schema import VideoRequest
from longtake.pipelines.serve.http.stream_response import Stream, first_of
from longtake.pipelines.serve.http.video_service import Desk, unavailable
from longtake.pipelines.serve.library.takes import Take

router = APIRouter(prefix="/v1/videos", tags=["Streams"])
SSE = "text/event-stream"
ID_HEADER = "Longtake-Video-Id"
From = Annotated[int, Query(ge=0, le=10**6, description="The first one to send: for a client that has those before.")]
Index = Annotated[int, Path(ge=0, le=10**6)]


def answers(media: str, description: str) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    schema = {"schema": {"type": "string", "format": "binary"}} if media == MP4 else {"schema": {"type": "string"}}
    return {200: {"description": description, "content": {media: schema}}}


@router.post(
    "/sync",
    response_class=Response,
    responses={**answers(MP4, "The video, fragment by fragment."), **refusals(404, 413, 415, 503)},
    openapi_extra=described(VideoRequest),
)
async def sync_video(request: Request, desk: TheDesk, owner: Owner) -> Response:
    """Makes a video and sends it, as fragmented mp4, while it is made. Who closes the connection before its end stops
    the work, and the video is gone. A video that fails on the way ends the connection before the last chunk."""
    take, _ = await desk.create(await read(request, VideoRequest), owner, transient=True)
    source = fragments(desk, take)
    try:
        first = await first_of(request, source)
        if first is None:
            _check_made(desk, take)
    except BaseException:
        desk.leave(take)
        raise
    content = _checked(desk, take, first or b"", source)
    return Stream(desk, content, MP4, {ID_HEADER: take.id}, lambda: desk.leave(take))


@router.get(
    "/{video_id}/stream",
    response_class=Response,
    responses={**answers(MP4, "Fragmented mp4."), 206: {"description": "A part of it."}, **refusals(404, 409, 416)},
)
@router.head("/{video_id}/stream", include_in_schema=False)
async def stream_video(request: Request, take: TheTake, desk: TheDesk, from_fragment: From = 0) -> Response:
    """Fragmented mp4 from the first fragment on, each as soon as it is final, to everybody the same bytes. Of a video
    that is finished it is a file, of which ranges can be had."""
    return await _stream(request, desk, take, FRAGMENT, from_fragment)


@router.get(
    "/{video_id}/preview",
    response_class=Response,
    responses={**answers(MP4, "Fragmented mp4."), 206: {"description": "A part of it."}, **refusals(404, 409, 416)},
)
@router.head("/{video_id}/preview", include_in_schema=False)
async def stream_preview(request: Request, take: TheTake, desk: TheDesk, from_fragment: From = 0) -> Response:
    """The low-resolution video of the base model, as `stream`: it runs ahead of the final one."""
    return await _stream(request, desk, take, PREVIEW, from_fragment)


@router.get(
    "/{video_id}/previews/{index}",
    response_class=Response,
    responses={**answers(MP4, "One fragment; that of chunk 0 begins with the head of the file."), **refusals(404, 416)},
)
async def preview_chunk(request: Request, take: TheTake, desk: TheDesk, index: Index) -> Response:
    """The low-resolution frames of one chunk."""
    if index >= await count_fragments(desk, take, PREVIEW):
        raise no_such_part("chunk", index)
    return await file_response(request, desk, take, name_of(PREVIEW, index), MP4)


@router.get(
    "/{video_id}/events",
    response_class=Response,
    responses={
        **answers(
            SSE, "`status`, `progress`, `chunk`, `preview`, `window`, `fragment`, `prompt`, `completed`, `failed`"
        ),
        204: {"description": "Nothing comes after `Last-Event-ID`: the video is finished."},
        **refusals(404),
    },
)
async def follow_events(
    take: TheTake, desk: TheDesk, last_event_id: Annotated[str, Header(description="Go on after it.")] = ""
) -> Response:
    """Server-sent events from the first one on: what is made, as it is made. The last is `completed` or `failed`."""
    if is_last(last_event_id):
        return Response(status_code=204)  # a browser would ask again and again
    return Stream(desk, with_heartbeats(events(desk, take, last_event_id)), SSE)


async def _stream(request: Request, desk: Desk, take: Take, kind: Kind, first: int) -> Response:
    if take.is_active and desk.engine.live(take.id) is None:
        take = desk.find(take.id, take.owner)  # it may have ended meanwhile
        if take.is_active:  # the engine starts, stops or has failed: what is there is not the whole
            raise unavailable(desk.engine.state)
    if take.is_active:
        if request.method == "HEAD":
            return Response(media_type=MP4)
        return Stream(desk, fragments(desk, take, kind, first), MP4)
    count = await count_fragments(desk, take, kind)
    if count == 0:
        raise ApiError(409, "video_failed", f"Nothing was made of video {take.id}.")
    if first > count:  # who has all of them gets nothing more, and no error
        raise no_such_part("fragment", first)
    names = [name_of(kind, index) for index in range(first, count)]
    return await joined_response(request, desk, take, names, MP4, f"{kind}-{first}")


async def _checked(
    desk: Desk, take: Take, first: bytes, source: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    yield first
    async for fragment in source:
        yield fragment
    _check_made(desk, take)


def _check_made(desk: Desk, take: Take) -> None:
    """Raises ApiError if the video has failed: its client must not take what there is for the whole."""
    now = desk.find(take.id, take.owner)
    if now.error is not None:
        raise ApiError(500, now.error[0], now.error[1])
