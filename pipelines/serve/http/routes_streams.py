"""Routes that send a video while it is generated: as a stream of bytes, as events, or in response to its request."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response

from longtake.pipelines.serve.http.byte_ranges import check_match
from longtake.pipelines.serve.http.dependencies import Owner, OwnTake, Service
from longtake.pipelines.serve.http.errors import unavailable
from longtake.pipelines.serve.http.file_responses import MP4, file_response, joined_response
from longtake.pipelines.serve.http.live_feed import (
    FRAGMENT,
    PREVIEW,
    Kind,
    events,
    fragments,
    is_last,
    name_of,
    num_fragments,
    server_sent_events,
)
from longtake.pipelines.serve.http.openapi import body_of, file_of, refusals
from longtake.pipelines.serve.http.request_body import read_body
from longtake.pipelines.serve.http.schema import VideoRequest
from longtake.pipelines.serve.http.stream_places import EVENTS, VIDEO
from longtake.pipelines.serve.http.stream_response import LiveResponse, first_item, head_of_stream
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.http.video_states import check_completed, lacks, num_chunks, num_segments, require_part
from longtake.pipelines.serve.library.takes import Take

router = APIRouter(prefix="/v1/videos", tags=["Streams"])
SSE = "text/event-stream"
ID_HEADER = "Longtake-Video-Id"
FromFragment = Annotated[
    int, Query(ge=0, description="The first fragment to send, for a client that has the earlier ones.")
]
Index = Annotated[int, Path(ge=0)]


def content(media: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The 200 response of the OpenAPI document."""
    schema = {"schema": {"type": "string", "format": "binary"}} if media == MP4 else {"schema": {"type": "string"}}
    return {200: {"description": description, "content": {media: schema}}}


@router.post(
    "/sync",
    response_class=Response,
    responses={**content(MP4, "The video, fragment by fragment."), **refusals(404, 409, 413, 415, 500)},
    openapi_extra=body_of(VideoRequest),
)
async def sync_video(request: Request, service: Service, owner: Owner) -> Response:
    """Generates a video and sends it meanwhile as fragmented mp4. Closing the connection before the end stops the
    work and deletes the video. If the video fails, the connection ends before the last chunk of the response."""
    request_body = await read_body(request, VideoRequest)
    place = service.places.take(owner, VIDEO)  # before the video is queued
    try:
        take, _ = await service.create(request_body, owner, transient=True)
        try:
            source = fragments(service, take)
            first = await first_item(request, source)
            if first is None:
                check_completed(service.find(take.id, take.owner))
        except BaseException:
            service.discard(take)
            raise
    except BaseException:
        place.close()
        raise
    whole = _whole(service, take, source, num_segments(take), first or b"")
    return LiveResponse(place, whole, MP4, {ID_HEADER: take.id}, lambda: service.discard(take))


@router.get(
    "/{video_id}/stream",
    response_class=Response,
    responses=file_of("Fragmented mp4. While it is being generated, it has no length, no ETag and no ranges.", MP4),
)
async def stream_video(request: Request, take: OwnTake, service: Service, from_fragment: FromFragment = 0) -> Response:
    """Fragmented mp4 from the first fragment on, each as soon as it is final; every client gets the same bytes. If
    the video has failed, or fails or is deleted before its end, the connection ends before the last chunk of the
    response. A finished video is a file, which supports range requests."""
    return await _stream(request, service, take, FRAGMENT, from_fragment)


@router.get(
    "/{video_id}/preview",
    response_class=Response,
    responses=file_of("Fragmented mp4. While it is being generated, it has no length, no ETag and no ranges.", MP4),
)
async def stream_preview(
    request: Request, take: OwnTake, service: Service, from_fragment: FromFragment = 0
) -> Response:
    """The low-resolution video of the base model, in the form of `stream`. It runs ahead of the final video."""
    return await _stream(request, service, take, PREVIEW, from_fragment)


@router.get(
    "/{video_id}/previews/{index}",
    response_class=Response,
    responses=file_of("One fragment. The one of chunk 0 begins with the head of the file.", MP4),
)
async def preview_chunk(request: Request, take: OwnTake, service: Service, index: Index) -> Response:
    """The low-resolution frames of one chunk."""
    require_part(take, "chunk", index, num_chunks(take))
    if index >= await num_fragments(service, take, PREVIEW):
        raise lacks(service.find(take.id, take.owner), f"chunk {index}")
    return await file_response(request, service, take, name_of(PREVIEW, index), MP4)


@router.get(
    "/{video_id}/events",
    response_class=Response,
    responses={
        **content(
            SSE,
            "`status`, `queue`, `progress`, `chunk`, `preview`, `window`, `fragment`, `prompt`, `completed`, `failed`",
        ),
        204: {"description": "No event follows `Last-Event-ID`: the video is finished."},
        **refusals(404),
    },
)
async def follow_events(
    request: Request,
    take: OwnTake,
    service: Service,
    last_event_id: Annotated[str, Header(description="Continue after this event.")] = "",
) -> Response:
    """Server-sent events about the progress of a video, from the first one on. The last is `completed` or `failed`."""
    if is_last(take, last_event_id):
        return Response(status_code=204)  # tells a browser not to reconnect
    if request.method == "HEAD":
        return head_of_stream(SSE)
    place = service.places.take(take.owner, EVENTS)
    return LiveResponse(place, server_sent_events(events(service, take, last_event_id)), SSE)


async def _stream(request: Request, service: VideoService, take: Take, kind: Kind, first: int) -> Response:
    name, num_parts = ("fragment", num_segments(take)) if kind == FRAGMENT else ("chunk", num_chunks(take))
    if first != num_parts:  # else the client has all, and gets an empty response
        require_part(take, name, first, num_parts)
    if take.is_active and service.engine.live(take.id) is None:
        take = service.find(take.id, take.owner)  # it may have ended meanwhile
        if take.is_active:  # the engine starts, stops or has failed: the fragments so far are not the whole video
            raise unavailable(service.engine.state)
    count = 0 if take.is_active else await num_fragments(service, take, kind)
    is_whole = take.error is None and count == num_parts
    is_part = not is_whole and first < count  # the rest will never come: it ends as if it failed now
    if take.is_active or is_part:
        check_match(request, None)
        if request.method == "HEAD":
            return head_of_stream(MP4)
        whole = _whole(service, take, fragments(service, take, kind, first), num_parts - first)
        return LiveResponse(service.places.take(take.owner, VIDEO), whole, MP4)
    if not is_whole:
        raise lacks(take, f"{name} {first}")
    names = [name_of(kind, index) for index in range(first, count)]
    return await joined_response(request, service, take, names, MP4, f"{kind}-{first}")


async def _whole(
    service: VideoService, take: Take, source: AsyncGenerator[bytes, None], num_parts: int, *first: bytes
) -> AsyncGenerator[bytes, None]:
    """The `num_parts` parts of a video that is being made, `first` and those of `source`. Raises ApiError at their end
    if it has failed, was deleted or lacks a part: the connection is cut, and no client takes it for complete."""
    num_sent = len(first)
    for fragment in first:
        yield fragment
    async with aclosing(source):
        async for fragment in source:
            yield fragment
            num_sent += 1
    latest = service.find(take.id, take.owner)
    check_completed(latest)
    if num_sent < num_parts:
        raise lacks(latest, "all of its parts")
