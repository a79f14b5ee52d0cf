"""A take while it is made: its fragments and its events, for any number of clients, each at its own pace.

Whoever joins late gets the same bytes from the first one on.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from longtake.pipelines.serve.http.errors import not_found
from longtake.pipelines.serve.http.video_service import Desk, unavailable
from longtake.pipelines.serve.library.events import LAST, Event
from longtake.pipelines.serve.library.paths import PREVIEWS, folder, fragment_name, preview_name
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take

HEARTBEAT_S = 15.0
Kind = Literal["fragment", "preview"]  # the names of their events
FRAGMENT: Kind = "fragment"
PREVIEW: Kind = "preview"
# Events are numbered in this process: after a restart the numbers begin anew, and so does a client.
_RUN = secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event, and the id with which a client can ask for those after it."""

    id: str
    event: Event


async def fragments(desk: Desk, take: Take, kind: Kind = FRAGMENT, first: int = 0) -> AsyncGenerator[bytes, None]:
    """The fragments from `first` on, each as soon as it is there; ends when no more will come.

    Raises ApiError when the endpoint stops before that: who asks again later gets the rest.
    """
    shown = first
    live = desk.engine.live(take.id)
    if live is None and desk.find(take.id, take.owner).is_active:  # the engine starts, stops or has failed
        raise unavailable(desk.engine.state)
    if live is not None:
        async for event in live.follow():
            if event.kind == kind:
                for index in range(shown, event.data["index"] + 1):
                    yield await _next(desk, take, kind, index)
                shown = max(shown, event.data["index"] + 1)
            if event.kind == "interrupted":
                raise unavailable("draining")
    for index in range(shown, await count_fragments(desk, take, kind)):  # all, where nothing is live any more
        yield await _next(desk, take, kind, index)


async def _next(desk: Desk, take: Take, kind: Kind, index: int) -> bytes:
    try:
        return await read_fragment(desk, take, kind, index)
    except FileNotFoundError:  # it was deleted while somebody watched
        raise not_found(take.id) from None


async def read_fragment(desk: Desk, take: Take, kind: Kind, index: int) -> bytes:
    """Raises FileNotFoundError."""
    return await asyncio.to_thread(desk.takes.store.get, f"{folder(take.id)}/{name_of(kind, index)}")


def name_of(kind: Kind, index: int) -> str:
    """Its path below the folder of its take."""
    return fragment_name(index) if kind == FRAGMENT else preview_name(index)


async def count_fragments(desk: Desk, take: Take, kind: Kind) -> int:
    """How many there are from the first one on, without a gap."""
    if kind == FRAGMENT:
        try:
            return len(desk.takes.get(take.id).fragments)
        except NoSuchTake:  # deleted meanwhile
            return 0
    at = folder(take.id)
    paths = set(await asyncio.to_thread(desk.takes.store.list, f"{at}/{PREVIEWS}"))
    count = 0
    while f"{at}/{preview_name(count)}" in paths:
        count += 1
    return count


async def events(desk: Desk, take: Take, last_id: str = "") -> AsyncGenerator[Numbered, None]:
    """The events after the one with `last_id`; from the first one on, when it is of another run.

    Raises ApiError for a take that is not there any more.
    """
    if is_last(last_id):
        return
    live = desk.engine.live(take.id)
    if live is None:  # it may have ended since somebody looked
        for event in _story(desk.find(take.id, take.owner)):
            yield _numbered(event, 0)
        return
    run, _, number = last_id.partition("-")
    count = int(number) if run == _RUN and number.isdecimal() and len(number) < 9 else 0
    async for event in live.follow(count):
        count += 1
        yield _numbered(event, count)


def is_last(event_id: str) -> bool:
    """Nothing comes after it."""
    return event_id == f"{_RUN}-end"


async def with_heartbeats(source: AsyncGenerator[Numbered, None]) -> AsyncGenerator[bytes, None]:
    """Server-sent events; a comment when nothing has happened for a while, so that nobody takes silence for an end."""
    waiting: asyncio.Future[Numbered] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(source))
            await asyncio.wait([waiting], timeout=HEARTBEAT_S)
            if not waiting.done():
                yield b": still here\n\n"
                continue
            try:
                one = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            data = json.dumps(one.event.data, ensure_ascii=False)
            yield f"id: {one.id}\nevent: {one.event.kind}\ndata: {data}\n\n".encode()
    finally:
        if waiting is not None:
            waiting.cancel()


def _numbered(event: Event, count: int) -> Numbered:
    return Numbered(f"{_RUN}-end" if event.kind in ("completed", "failed") else f"{_RUN}-{count}", event)


def _story(take: Take) -> list[Event]:
    """What there is to say of a take that nobody works on."""
    told = [Event("status", {"status": take.status.value})]
    if take.status is Status.COMPLETED:
        told.append(Event("completed", {}))
    if take.error is not None:
        told.append(Event("failed", {"code": take.error[0], "message": take.error[1]}))
    assert take.is_active or told[-1].kind in LAST, "a take has ended well, or has an error"
    return told
