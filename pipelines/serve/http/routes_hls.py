"""HLS for players without Media Source (Safari on a phone): a playlist over the same bytes as the stream.

fragment 0 = ftyp moov | moof mdat        init.mp4 is the part before the bar, 0.m4s the part after it
fragment k =             moof mdat        k.m4s
"""

import asyncio
import math
from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from longtake.models.video.mp4 import split_head
from longtake.pipelines.serve.http.byte_ranges import check_match
from longtake.pipelines.serve.http.dependencies import OwnTake, Service
from longtake.pipelines.serve.http.file_responses import MP4, bytes_response
from longtake.pipelines.serve.http.live_feed import FRAGMENT, fragments, read_fragment
from longtake.pipelines.serve.http.openapi import file_of
from longtake.pipelines.serve.http.stream_places import EVENTS
from longtake.pipelines.serve.http.stream_response import head_of_stream
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.http.video_states import lacks, num_segments, require_part
from longtake.pipelines.serve.library.pieces import segments_of
from longtake.pipelines.serve.library.takes import Status, Take

router = APIRouter(prefix="/v1/videos/{video_id}/hls", tags=["Streams"])
PLAYLIST = "application/vnd.apple.mpegurl"
FIRST_FRAGMENT_S = 20.0  # a player waits this long for the first fragment
Index = Annotated[int, Path(ge=0)]


@router.get(
    "/playlist.m3u8",
    response_class=Response,
    responses=file_of("The playlist. While it grows it has no ETag and no ranges.", PLAYLIST),
)
async def hls_playlist(request: Request, take: OwnTake, service: Service) -> Response:
    """The playlist. Waits for the first fragment; ends with the video. Segments that a failed video lacks are gaps."""
    if not take.fragments and take.is_active and request.method == "HEAD":
        return head_of_stream(PLAYLIST)  # it does not wait
    if not take.fragments:
        with closing(service.places.take(take.owner, EVENTS)):
            await _wait_for_first(service, take)
    latest = service.find(take.id, take.owner)
    if not latest.fragments:
        raise lacks(latest, "the first segment")
    if latest.is_active:
        check_match(request, None)
        return Response(_playlist(latest), media_type=PLAYLIST)
    return bytes_response(request, latest, "hls-playlist", _playlist(latest).encode(), PLAYLIST)


@router.get("/init.mp4", response_class=Response, responses=file_of("The bytes.", MP4))
async def hls_init(request: Request, take: OwnTake, service: Service) -> Response:
    """The head of the file, which every segment needs."""
    head, _ = await _fragment(service, take, 0)
    return bytes_response(request, take, "hls-init", head)


@router.get("/{index}.m4s", response_class=Response, responses=file_of("The bytes.", MP4))
async def hls_segment(request: Request, take: OwnTake, service: Service, index: Index) -> Response:
    """One fragment."""
    _, rest = await _fragment(service, take, index)
    return bytes_response(request, take, f"hls-{index}", rest)


async def _wait_for_first(service: VideoService, take: Take) -> None:
    source = fragments(service, take)
    try:
        await asyncio.wait_for(anext(source, None), FIRST_FRAGMENT_S)
    except TimeoutError:
        return
    finally:
        await source.aclose()


async def _fragment(service: VideoService, take: Take, index: int) -> tuple[bytes, bytes]:
    """(ftyp and moov, the rest) of a fragment; only fragment 0 has a head. Raises ApiError."""
    require_part(take, "segment", index, num_segments(take))
    try:
        data = await read_fragment(service, take, FRAGMENT, index)
    except FileNotFoundError:
        raise lacks(service.find(take.id, take.owner), f"segment {index}") from None
    return split_head(data) if index == 0 else (b"", data)


def _playlist(take: Take) -> str:
    """A failed video keeps its length, so a player shows that the rest is missing and nobody thinks it is complete."""
    seconds = [float(len(span) / take.rate) for span in segments_of(take)]
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{8 if take.status is Status.FAILED else 7}",  # gaps are of version 8
        f"#EXT-X-TARGETDURATION:{math.ceil(max(seconds))}",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for index in range(len(seconds) if take.status is Status.FAILED else len(take.fragments)):
        if index >= len(take.fragments):
            lines.append("#EXT-X-GAP")
        lines += [f"#EXTINF:{seconds[index]:.6f},", f"{index}.m4s"]
    if not take.is_active:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])
