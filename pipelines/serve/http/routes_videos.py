"""The videos API: make, list, look, delete, cancel, remix, extend, download."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from longtake.pipelines.serve.http.dependencies import Owner, TheDesk, TheTake
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.file_responses import file_response
from longtake.pipelines.serve.http.request_body import described, read, refusals
from longtake.pipelines.serve.http.schema import (
    ExtensionRequest,
    RemixRequest,
    Video,
    VideoDeleted,
    VideoList,
    VideoRequest,
)
from longtake.pipelines.serve.library.paths import SPRITESHEET, THUMBNAIL, VIDEO
from longtake.pipelines.serve.library.takes import NoSuchTake, Status

router = APIRouter(prefix="/v1/videos", tags=["Videos"])
VARIANTS = {
    "video": (VIDEO, "video/mp4"),
    "thumbnail": (THUMBNAIL, "image/jpeg"),
    "spritesheet": (SPRITESHEET, "image/jpeg"),
}
Variant = Annotated[Literal["video", "thumbnail", "spritesheet"], Query(description="Which file of the video.")]
MAKES = refusals(404, 413, 415, 503)
BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.post("", response_model=Video, responses=MAKES, openapi_extra=described(VideoRequest))
async def create_video(request: Request, desk: TheDesk, owner: Owner) -> Video:
    """Puts a video into the queue and comes back at once. Watch it with `stream`, `events` or `GET`."""
    return desk.video(*await desk.create(await read(request, VideoRequest), owner))


@router.get("", response_model=VideoList, responses=refusals())
async def list_videos(
    desk: TheDesk,
    owner: Owner,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By `created_at`.")] = "desc",
) -> VideoList:
    """The videos of this key, the latest first."""
    try:
        takes, has_more = desk.takes.list(owner, after, limit, order)
    except NoSuchTake:
        raise ApiError(400, "invalid_value", "after: there is no such video", "after") from None
    data = [desk.video(take) for take in takes]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=has_more)


@router.post(
    "/extensions",
    response_model=Video,
    responses={**MAKES, **refusals(409)},
    openapi_extra=described(ExtensionRequest),
)
async def extend_video(request: Request, desk: TheDesk, owner: Owner) -> Video:
    """Goes on with a completed video, whose memory was kept: a new video, that begins with the frames of the other.

    It is, byte for byte, the video that would have come of asking for all of it at once.
    """
    return desk.video(*await desk.extend(await read(request, ExtensionRequest), owner))


@router.get("/{video_id}", response_model=Video, responses=refusals(404))
async def retrieve_video(take: TheTake, desk: TheDesk) -> Video:
    """What was asked, and how far it is."""
    return desk.video(take)


@router.delete("/{video_id}", response_model=VideoDeleted, responses=refusals(404))
async def delete_video(take: TheTake, desk: TheDesk) -> VideoDeleted:
    """Removes the video and its files; one that is being made is cancelled before."""
    await desk.ask(take, desk.engine.delete)
    return VideoDeleted(id=take.id)


@router.post("/{video_id}/cancel", response_model=Video, responses=refusals(404, 409))
async def cancel_video(take: TheTake, desk: TheDesk) -> Video:
    """Stops the work. What is made can still be streamed; the video is `failed`, with the error code `cancelled`."""
    if not take.is_active:
        raise ApiError(409, "video_finished", f"Video {take.id} is {take.status} already.")
    return desk.video(await desk.ask(take, desk.engine.cancel))


@router.post("/{video_id}/remix", response_model=Video, responses=MAKES, openapi_extra=described(RemixRequest))
async def remix_video(request: Request, take: TheTake, desk: TheDesk) -> Video:
    """The same request with another prompt; the seed stays."""
    return desk.video(*await desk.remix(take, await read(request, RemixRequest)))


@router.get(
    "/{video_id}/content",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"video/mp4": BYTES, "image/jpeg": BYTES}},
        206: {"description": "A part of it."},
        304: {"description": "It is what `If-None-Match` names."},
        **refusals(404, 409, 416),
    },
)
@router.head("/{video_id}/content", include_in_schema=False)
async def download_video(request: Request, take: TheTake, desk: TheDesk, variant: Variant = "video") -> Response:
    """The finished file, also a range of it."""
    if take.status is Status.FAILED:
        raise ApiError(409, "video_failed", f"Video {take.id} was not completed; `stream` has what was made of it.")
    if take.status is not Status.COMPLETED:
        raise ApiError(409, "video_not_ready", f"Video {take.id} is {take.status}; `stream` has what is there.")
    name, media = VARIANTS[variant]
    return await file_response(request, desk, take, name, media)
