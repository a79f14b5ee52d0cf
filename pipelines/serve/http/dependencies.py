"""What a route asks for in its signature."""

from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from longtake.pipelines.serve.http.schema import ID_PATTERN, VIDEO_ID
from longtake.pipelines.serve.http.video_service import Desk
from longtake.pipelines.serve.library.takes import Take


def _desk(connection: HTTPConnection) -> Desk:
    desk: Desk = connection.app.state.desk
    return desk


def _owner(connection: HTTPConnection) -> str:
    """Whose request it is, by the Guard."""
    owner: str = connection.state.owner
    return owner


TheDesk = Annotated[Desk, Depends(_desk)]
Owner = Annotated[str, Depends(_owner)]
# The pattern is for readers: an id of another form is that of no video, a 404 and no 400.
VideoId = Annotated[
    str, Path(description="As the video's `id`.", json_schema_extra={"pattern": ID_PATTERN}, examples=[VIDEO_ID])
]


async def _take(video_id: VideoId, desk: TheDesk, owner: Owner) -> Take:
    return desk.find(video_id, owner)


TheTake = Annotated[Take, Depends(_take)]
