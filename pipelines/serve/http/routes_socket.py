"""One socket for one video: JSON to ask and to tell, binary messages for the fragments.

    client  {"type": "start", "prompt": "...", "num_frames": 80, ...}     the fields of a new video
            {"type": "prompt", "prompt": "a blue square moves left"}      from the next chunk on
            {"type": "cancel"}                                            and the end comes soon
    server  {"type": "video", "video": {...}}                             as `GET /v1/videos/{id}`
            {"type": "fragment", "index": 0, "start": 0, "stop": 16, "bytes": 9000}, and then the bytes as one message
            {"type": "progress" | "chunk" | "window" | ... }              as the events of `GET /v1/videos/{id}/events`
            {"type": "error", "error": {...}}                             the form of every refusal
            {"type": "completed"}, {"type": "failed", "code": ..., "message": ...} or {"type": "interrupted"}, when the
            endpoint stops; and the socket is closed

Who closes the socket before the end stops the work, and the video is gone.
"""

import asyncio
import json
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from longtake.pipelines.serve.http.dependencies import Owner, TheDesk
from longtake.pipelines.serve.http.errors import ApiError, from_validation, invalid, refused
from longtake.pipelines.serve.http.live_feed import FRAGMENT, events, read_fragment
from longtake.pipelines.serve.http.schema import PromptChange, VideoRequest
from longtake.pipelines.serve.http.video_service import Desk
from longtake.pipelines.serve.library.events import LAST
from longtake.pipelines.serve.library.takes import Take

router = APIRouter()
START_S = 60.0  # for the first message
NORMAL, REFUSED, TRY_LATER = 1000, 1008, 1013


@router.websocket("/v1/stream")
async def stream_socket(socket: WebSocket, desk: TheDesk, owner: Owner) -> None:
    await socket.accept()
    try:
        with desk.stream():
            await _serve(socket, desk, owner)
    except ApiError as refusal:
        await socket.send_json({"type": "error", **refusal.body})
        await socket.close(TRY_LATER if refusal.status in (429, 503) else REFUSED, refusal.code)
    except WebSocketDisconnect:
        return


async def _serve(socket: WebSocket, desk: Desk, owner: str) -> None:
    take = await _start(socket, desk, owner)
    talk = asyncio.create_task(_tell(socket, desk, take))
    listen = asyncio.create_task(_listen(socket, desk, take))
    try:
        await asyncio.wait([talk, listen], return_when=asyncio.FIRST_COMPLETED)
        (talk if talk.done() else listen).result()
    finally:
        if not talk.done() or talk.cancelled() or talk.exception() is not None:
            desk.leave(take)
        for task in (talk, listen):
            task.cancel()
        await asyncio.gather(talk, listen, return_exceptions=True)
    await socket.close(NORMAL)


async def _start(socket: WebSocket, desk: Desk, owner: str) -> Take:
    try:
        message = await asyncio.wait_for(_receive(socket, desk), START_S)
    except TimeoutError:
        raise invalid(f"Nothing was asked for in {START_S:g} seconds.", "type") from None
    if message.pop("type", None) != "start":
        raise invalid("type: the first message has to be of type start", "type")
    try:
        request = VideoRequest.model_validate_json(json.dumps(message), strict=True)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_context=False)) from None
    take, words = await desk.create(request, owner, transient=True)
    try:
        await _send(socket, {"type": "video", "video": desk.video(take, words).model_dump(mode="json")})
    except BaseException:
        desk.leave(take)
        raise
    return take


async def _tell(socket: WebSocket, desk: Desk, take: Take) -> None:
    """All that happens, to the end."""
    shown = 0
    async for one in events(desk, take):
        event = one.event
        if event.kind == "fragment":
            if event.data["index"] < shown:
                continue
            shown = event.data["index"] + 1
        await _send(socket, {"type": event.kind, **event.data})
        if event.kind == "fragment":
            await socket.send_bytes(await read_fragment(desk, take, FRAGMENT, event.data["index"]))
        if event.kind in LAST:
            return


async def _listen(socket: WebSocket, desk: Desk, take: Take) -> None:
    """What the client changes, until it goes. A wrong message is told, and changes nothing."""
    while True:
        try:
            message = await _receive(socket, desk)
            kind = message.get("type")
            if kind == "cancel":
                await desk.ask(take, desk.engine.cancel)
            elif kind == "prompt":
                await _change_prompt(desk, take, message)
            else:
                raise invalid("type: it has to be prompt or cancel", "type")
        except ApiError as refusal:
            await _send(socket, {"type": "error", **refusal.body})


async def _change_prompt(desk: Desk, take: Take, message: dict[str, Any]) -> None:
    try:
        change = PromptChange.model_validate_json(json.dumps(message), strict=True)
        await desk.check_prompt(take, change.prompt)
        await desk.ask(take, lambda take_id: desk.engine.change_prompt(take_id, change.prompt))
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_context=False)) from None
    except ValueError as error:
        raise refused(error) from None


async def _receive(socket: WebSocket, desk: Desk) -> dict[str, Any]:
    """The next JSON object. Raises ApiError for anything else."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text, limit = message.get("text"), desk.conf.serve.max_body_bytes
    if text is None:
        raise invalid("A message has to be JSON text.", None, "invalid_json")
    if len(text) > limit:
        raise ApiError(413, "body_too_large", f"The message has more than {limit} characters.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("The message is no valid JSON.", None, "invalid_json") from None
    if not isinstance(value, dict):
        raise invalid("The message has to be a JSON object.", None, "invalid_json")
    return value


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(message, ensure_ascii=False))
