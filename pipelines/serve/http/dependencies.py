"""The parameters that routes name in their signatures."""

from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from longtake.pipelines.serve.http.schema import ID_PATTERN, VIDEO_ID
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.library.takes import Take


def _service(connection: HTTPConnection) -> VideoService:
    service: VideoService = connection.app.state.service
    return service


def _owner(connection: HTTPConnection) -> str:
    """The owner of the request's key, from AccessControl."""
    owner: str = connection.state.owner
    return owner


Service = Annotated[VideoService, Depends(_service)]
Owner = Annotated[str, Depends(_owner)]
# The pattern documents ids and is not enforced: an id of another form belongs to no video and gives 404, not 400.
VideoId = Annotated[
    str, Path(description="The video's `id`.", json_schema_extra={"pattern": ID_PATTERN}, examples=[VIDEO_ID])
]


async def _take(video_id: VideoId, service: Service, owner: Owner) -> Take:
    return service.find(video_id, owner)


OwnTake = Annotated[Take, Depends(_take)]
