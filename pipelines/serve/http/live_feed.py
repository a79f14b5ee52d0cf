"""The fragments and events of a take while it is generated, for any number of clients, each at its own pace.

A client that joins late gets the same bytes from the beginning.

Server-sent events are 20 lines of ours. sse-starlette (3.7) replaces uvicorn's signal handler when it is imported and
cuts every stream at SIGTERM, where our clients get an `interrupted` event; and its response would stand beside
`LiveResponse`, which counts and closes the video streams too.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from longtake.pipelines.serve.http.errors import not_found, unavailable
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.library.events import LAST, Event
from longtake.pipelines.serve.library.paths import PREVIEWS, fragment_name, path_of, preview_name
from longtake.pipelines.serve.library.resume_plan import count_previews
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take

HEARTBEAT_S = 15.0
Kind = Literal["fragment", "preview"]  # the names of their events
FRAGMENT: Kind = "fragment"
PREVIEW: Kind = "preview"
# Events are numbered in this process. After a restart the numbers start again, and clients get all events again.
_RUN = secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event, and the id after which a client can continue."""

    id: str
    event: Event


async def fragments(
    service: VideoService, take: Take, kind: Kind = FRAGMENT, first: int = 0
) -> AsyncGenerator[bytes, None]:
    """The fragments from `first` on, each as soon as it is there, to the end of the take.

    Raises ApiError when the endpoint stops before the end: a client that retries later gets the rest.
    """
    next_index = first
    live = service.engine.live(take.id)
    if live is None and service.find(take.id, take.owner).is_active:  # the engine starts, stops or has failed
        raise unavailable(service.engine.state)
    if live is not None:
        async for event in live.follow():
            if event.kind == kind:
                for index in range(next_index, event.data["index"] + 1):
                    yield await _read(service, take, kind, index)
                next_index = max(next_index, event.data["index"] + 1)
            if event.kind == "interrupted":
                raise unavailable("draining")
    for index in range(next_index, await num_fragments(service, take, kind)):  # all of a take that has ended
        yield await _read(service, take, kind, index)


async def _read(service: VideoService, take: Take, kind: Kind, index: int) -> bytes:
    try:
        return await read_fragment(service, take, kind, index)
    except FileNotFoundError:  # deleted during the stream
        raise not_found(take.id) from None


async def read_fragment(service: VideoService, take: Take, kind: Kind, index: int) -> bytes:
    """Raises FileNotFoundError."""
    return await asyncio.to_thread(service.takes.store.get, path_of(take.id, name_of(kind, index)))


def name_of(kind: Kind, index: int) -> str:
    """The path of a fragment below the folder of its take."""
    return fragment_name(index) if kind == FRAGMENT else preview_name(index)


async def num_fragments(service: VideoService, take: Take, kind: Kind) -> int:
    """The number of fragments from the first one on, without a gap."""
    if kind == FRAGMENT:
        try:
            return len(service.takes.get(take.id).fragments)
        except NoSuchTake:  # deleted meanwhile
            return 0
    at = path_of(take.id, "")
    paths = await asyncio.to_thread(service.takes.store.list, f"{at}{PREVIEWS}")
    return count_previews({path.removeprefix(at) for path in paths})


async def events(service: VideoService, take: Take, last_id: str = "") -> AsyncGenerator[NumberedEvent, None]:
    """The events after the one with `last_id`, or all of them if this run has no event of this take with that id.

    Raises ApiError for a take that no longer exists.
    """
    if is_last(take, last_id):
        return
    live = service.engine.live(take.id)
    if live is None:  # it may have ended since the caller looked
        for event in _summary(service.find(take.id, take.owner)):
            yield _numbered(take, event, 0)
        return
    start, _, number = last_id.rpartition("-")
    is_ours = start == _start(take) and re.fullmatch("[0-9]{1,9}", number) is not None
    count = int(number) if is_ours and int(number) <= len(live) else 0
    async for event in live.follow(count):
        count += 1
        yield _numbered(take, event, count)


def is_last(take: Take, event_id: str) -> bool:
    """Whether no event of this take follows the one with this id."""
    return event_id == f"{_start(take)}-end"


async def server_sent_events(source: AsyncGenerator[NumberedEvent, None]) -> AsyncGenerator[bytes, None]:
    """Server-sent events, and a comment after each `HEARTBEAT_S` of silence: proxies close silent connections."""
    pending: asyncio.Future[NumberedEvent] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(source))
            await asyncio.wait([pending], timeout=HEARTBEAT_S)
            if not pending.done():
                yield b": still here\n\n"
                continue
            try:
                numbered = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            data = json.dumps(numbered.event.data, ensure_ascii=False)
            yield f"id: {numbered.id}\nevent: {numbered.event.kind}\ndata: {data}\n\n".encode()
    finally:
        if pending is not None:
            pending.cancel()


def _numbered(take: Take, event: Event, count: int) -> NumberedEvent:
    return NumberedEvent(f"{_start(take)}-{'end' if event.kind in ('completed', 'failed') else count}", event)


def _start(take: Take) -> str:
    """The part of an event's id that is the same for all events of a take in this run."""
    return f"{_RUN}-{take.id[-8:]}"


def _summary(take: Take) -> list[Event]:
    """The events of a take that is not in progress."""
    summary = [Event("status", {"status": take.status.value})]
    if take.status is Status.COMPLETED:
        summary.append(Event("completed", {}))
    if take.error is not None:
        summary.append(Event("failed", {"code": take.error[0], "message": take.error[1]}))
    assert take.is_active or summary[-1].kind in LAST, "an ended take is completed or has an error"
    return summary
