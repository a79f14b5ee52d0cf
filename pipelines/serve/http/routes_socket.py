"""A WebSocket that generates one video: JSON messages in both directions, binary messages with the fragments.

    client  {"type": "start", "prompt": "...", "num_frames": 80, ...}     the fields of a new video
            {"type": "prompt", "prompt": "a blue square moves left"}      from the next chunk on
            {"type": "cancel"}                                            ends the video early
    server  {"type": "video", "video": {...}}                             as `GET /v1/videos/{id}`
            {"type": "fragment", "index": 0, "start": 0, "stop": 16, "bytes": 9000}, then the bytes as one message
            {"type": "progress" | "chunk" | "window" | ... }              as the events of `GET /v1/videos/{id}/events`
            {"type": "error", "error": {...}}                             the form of every refusal
            {"type": "completed"}, {"type": "failed", "code": ..., "message": ...}, or {"type": "interrupted"} when the
            endpoint stops; then the socket is closed with 1000, 1011 or 1012 (1000 for a cancelled one too)

Closing the socket before the end stops the work and deletes the video.
"""

import asyncio
import json
from contextlib import closing
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from longtake.pipelines.serve.http.dependencies import Owner, Service
from longtake.pipelines.serve.http.errors import ApiError, from_value_error, invalid
from longtake.pipelines.serve.http.json_text import parse_object
from longtake.pipelines.serve.http.live_feed import FRAGMENT, events, read_fragment
from longtake.pipelines.serve.http.request_body import from_fields
from longtake.pipelines.serve.http.schema import PromptChange, VideoRequest
from longtake.pipelines.serve.http.stream_places import VIDEO
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.library.events import LAST, Event
from longtake.pipelines.serve.library.takes import Take

router = APIRouter()
START_S = 60.0  # for the first message
NORMAL, REFUSED, FAILED, SERVICE_RESTART, TRY_LATER = 1000, 1008, 1011, 1012, 1013


@router.websocket("/v1/stream")
async def stream_socket(socket: WebSocket, service: Service, owner: Owner) -> None:
    await socket.accept()
    try:
        with closing(service.places.take(owner, VIDEO)):
            await _serve(socket, service, owner)
    except ApiError as refusal:
        await socket.send_json({"type": "error", **refusal.body})
        await socket.close(TRY_LATER if refusal.status in (429, 503) else REFUSED, refusal.code)
    except WebSocketDisconnect:
        return


@router.get("/v1/stream", include_in_schema=False)
async def no_socket() -> None:
    """The address is right, the protocol is not."""
    refusal = ApiError(426, "upgrade_required", "/v1/stream is a WebSocket: connect to it with ws:// or wss://.")
    refusal.headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    raise refusal


async def _serve(socket: WebSocket, service: VideoService, owner: str) -> None:
    take = await _start(socket, service, owner)
    sending = asyncio.create_task(_send_events(socket, service, take))
    receiving = asyncio.create_task(_receive_messages(socket, service, take))
    try:
        await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        (sending if sending.done() else receiving).result()
    finally:
        if not sending.done() or sending.cancelled() or sending.exception() is not None:
            service.discard(take)
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)
    await socket.close(sending.result())


async def _start(socket: WebSocket, service: VideoService, owner: str) -> Take:
    try:
        message = await asyncio.wait_for(_receive(socket, service), START_S)
    except TimeoutError:
        raise invalid(f"No message arrived within {START_S:g} seconds.", "type") from None
    if message.pop("type", None) != "start":
        raise invalid("type: the first message must have type start", "type")
    take, warnings = await service.create(from_fields(message, VideoRequest), owner, transient=True)
    try:
        await _send(socket, {"type": "video", "video": service.video(take, warnings).model_dump(mode="json")})
    except BaseException:
        service.discard(take)
        raise
    return take


async def _send_events(socket: WebSocket, service: VideoService, take: Take) -> int:
    """Sends every event, and each fragment once, to the end of the take. Returns the code for closing the socket."""
    next_index = 0
    async for numbered in events(service, take):
        event = numbered.event
        if event.kind == "fragment":
            if event.data["index"] < next_index:
                continue
            next_index = event.data["index"] + 1
        await _send(socket, {"type": event.kind, **event.data})
        if event.kind == "fragment":
            await socket.send_bytes(await read_fragment(service, take, FRAGMENT, event.data["index"]))
        if event.kind in LAST:
            return _close_code(event)
    raise AssertionError("the events of a take have a last one")


def _close_code(last: Event) -> int:
    if last.kind == "interrupted":
        return SERVICE_RESTART
    return FAILED if last.kind == "failed" and last.data["code"] != "cancelled" else NORMAL


async def _receive_messages(socket: WebSocket, service: VideoService, take: Take) -> None:
    """Obeys the client's messages until it disconnects. An invalid one is answered with an error."""
    while True:
        try:
            message = await _receive(socket, service)
            kind = message.get("type")
            if kind == "cancel":
                await service.call(take, service.engine.cancel)
            elif kind == "prompt":
                await _change_prompt(service, take, message)
            else:
                raise invalid("type: must be prompt or cancel", "type")
        except ApiError as refusal:
            await _send(socket, {"type": "error", **refusal.body})


async def _change_prompt(service: VideoService, take: Take, message: dict[str, Any]) -> None:
    change = from_fields(message, PromptChange)
    await service.check_prompt(take, change)
    try:
        await service.call(take, lambda take_id: service.engine.change_prompt(take_id, change.prompt))
    except ValueError as error:
        raise from_value_error(error) from None


async def _receive(socket: WebSocket, service: VideoService) -> dict[str, Any]:
    """The next JSON object. Raises ApiError for anything else."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text, limit = message.get("text"), service.conf.serve.max_body_bytes
    if text is None:
        raise invalid("A message must be JSON text.", None, "invalid_json")
    if len(text) > limit:
        raise ApiError(413, "body_too_large", f"The message has more than {limit} characters.")
    return parse_object(text)


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(message, ensure_ascii=False))
