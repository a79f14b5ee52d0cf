"""Routes that create, list, inspect, delete, cancel, remix, extend and download videos."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from longtake.pipelines.serve.http.dependencies import Owner, OwnTake, Service
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.file_responses import file_response
from longtake.pipelines.serve.http.openapi import body_of, file_of, refusals
from longtake.pipelines.serve.http.request_body import read_body, read_extension
from longtake.pipelines.serve.http.schema import (
    ExtensionRequest,
    RemixRequest,
    UploadedExtension,
    Video,
    VideoCheck,
    VideoDeleted,
    VideoList,
    VideoRequest,
)
from longtake.pipelines.serve.http.video_states import require_active, require_completed
from longtake.pipelines.serve.library.paths import SPRITESHEET, THUMBNAIL, VIDEO
from longtake.pipelines.serve.library.takes import NoSuchTake

router = APIRouter(prefix="/v1/videos", tags=["Videos"])
UPLOAD_PATHS = ("/v1/videos", "/v1/videos/check", "/v1/videos/sync", "/v1/videos/extensions")  # they take a file
VARIANTS = {
    "video": (VIDEO, "video/mp4"),
    "thumbnail": (THUMBNAIL, "image/jpeg"),
    "spritesheet": (SPRITESHEET, "image/jpeg"),
}
Variant = Annotated[Literal["video", "thumbnail", "spritesheet"], Query(description="The file to download.")]
CREATE_RESPONSES = refusals(404, 413, 415)


@router.post("", response_model=Video, responses=CREATE_RESPONSES, openapi_extra=body_of(VideoRequest))
async def create_video(request: Request, service: Service, owner: Owner) -> Video:
    """Queues a video and returns at once. Follow it with `stream`, `events` or `GET`."""
    return service.video(*await service.create(await read_body(request, VideoRequest), owner))


@router.post("/check", response_model=VideoCheck, responses=CREATE_RESPONSES, openapi_extra=body_of(VideoRequest))
async def check_video(request: Request, service: Service, owner: Owner) -> VideoCheck:
    """Checks the request for a new video and names the words that the model does not know. Nothing is queued."""
    return await service.check(await read_body(request, VideoRequest), owner)


@router.get("", response_model=VideoList, responses=refusals())
async def list_videos(
    service: Service,
    owner: Owner,
    after: Annotated[str | None, Query(description="The `last_id` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By `created_at`.")] = "desc",
) -> VideoList:
    """The videos of this key, the latest first by default."""
    try:
        takes, has_more = service.takes.list(owner, after, limit, order)
    except NoSuchTake:
        raise ApiError(400, "invalid_value", "after: unknown video id", "after") from None
    data = [service.video(take) for take in takes]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=has_more)


@router.post(
    "/extensions",
    response_model=Video,
    responses={**CREATE_RESPONSES, **refusals(409)},
    openapi_extra=body_of(ExtensionRequest, UploadedExtension),
)
async def extend_video(request: Request, service: Service, owner: Owner) -> Video:
    """Continues a completed video, or one that comes as a file: the result is a new video that begins with its frames.

    It has the same bytes as a video of the full length made in one request; of a file, as `longtake extend` makes.
    """
    body = await read_extension(request)
    if isinstance(body, UploadedExtension):
        return service.video(*await service.extend_upload(body, owner))
    return service.video(*await service.extend(body, owner))


@router.get("/{video_id}", response_model=Video, responses=refusals(404))
async def retrieve_video(take: OwnTake, service: Service) -> Video:
    """The request and the progress of a video."""
    return service.video(take)


@router.delete("/{video_id}", response_model=VideoDeleted, responses=refusals(404))
async def delete_video(take: OwnTake, service: Service) -> VideoDeleted:
    """Deletes a video and its files; an unfinished one is cancelled first."""
    await service.call(take, service.engine.delete)
    return VideoDeleted(id=take.id)


@router.post("/{video_id}/cancel", response_model=Video, responses=refusals(404, 409))
async def cancel_video(take: OwnTake, service: Service) -> Video:
    """Stops the work. The fragments made so far can still be streamed; the video is `failed` with code `cancelled`."""
    require_active(take)
    return service.video(await service.call(take, service.engine.cancel))


@router.post("/{video_id}/remix", response_model=Video, responses=CREATE_RESPONSES, openapi_extra=body_of(RemixRequest))
async def remix_video(request: Request, take: OwnTake, service: Service) -> Video:
    """Queues the same request, seed included, with another prompt."""
    return service.video(*await service.remix(take, await read_body(request, RemixRequest)))


@router.get(
    "/{video_id}/content",
    response_class=Response,
    responses=file_of("The file.", "video/mp4", "image/jpeg"),
)
async def download_video(request: Request, take: OwnTake, service: Service, variant: Variant = "video") -> Response:
    """The finished file, or a range of it."""
    require_completed(take, f"its {variant}")
    name, media = VARIANTS[variant]
    return await file_response(request, service, take, name, media)
