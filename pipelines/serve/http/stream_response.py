"""An answer that goes on for as long as something comes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from anyio import CancelScope
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.video_service import Desk


class Stream(StreamingResponse):
    """Counts as a stream until it ends; `on_leave` is called when the client goes, or it fails, before the end."""

    def __init__(
        self,
        desk: Desk,
        content: AsyncGenerator[bytes, None],
        media: str,
        headers: Mapping[str, str] | None = None,
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        # Proxies that collect bytes before they pass them on are asked not to.
        super().__init__(content, 200, {"X-Accel-Buffering": "no", **(headers or {})}, media)
        self._desk, self._content, self._on_leave, self._whole = desk, content, on_leave, False

    async def stream_response(self, send: Send) -> None:
        await super().stream_response(send)
        self._whole = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._desk.stream():
                await super().__call__(scope, receive, send)
        finally:
            if self._on_leave is not None and not self._whole:
                self._on_leave()
            with CancelScope(shield=True):
                await self._content.aclose()


async def first_of(request: Request, source: AsyncGenerator[bytes, None]) -> bytes | None:
    """What comes first; None when nothing comes. The request's body has to be read by now.

    Raises ApiError, which nobody will see, when the client has gone.
    """
    first = asyncio.ensure_future(anext(source, None))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([first, gone], return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise ApiError(499, "client_closed_request", "The client has gone.")
        return first.result()
    finally:
        for task in (first, gone):
            task.cancel()
        await asyncio.gather(first, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
