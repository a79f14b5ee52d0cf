"""A response of unknown length, sent while its content is made."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from anyio import CancelScope
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.stream_places import StreamPlace


class LiveResponse(StreamingResponse):
    """Holds its place until it ends. `on_abort` is called if it fails or the client disconnects before."""

    def __init__(
        self,
        place: StreamPlace,
        content: AsyncGenerator[bytes, None],
        media: str,
        headers: Mapping[str, str] | None = None,
        on_abort: Callable[[], None] | None = None,
    ) -> None:
        # The header asks proxies not to buffer.
        super().__init__(content, 200, {"X-Accel-Buffering": "no", **(headers or {})}, media)
        self._place, self._content, self._on_abort, self._complete = place, content, on_abort, False

    async def stream_response(self, send: Send) -> None:
        await super().stream_response(send)
        self._complete = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.close()
            if self._on_abort is not None and not self._complete:
                self._on_abort()
            with CancelScope(shield=True):
                await self._content.aclose()


def head_of_stream(media: str) -> Response:
    """The response to HEAD if the length of the response to GET is not known yet."""
    return StreamingResponse(iter(()), 200, {"X-Accel-Buffering": "no"}, media)


async def first_item(request: Request, source: AsyncGenerator[bytes, None]) -> bytes | None:
    """The first item of `source`, or None if it has none. The request's body has to be read already.

    Raises ApiError, which no client will see, when the client disconnects.
    """
    first = asyncio.ensure_future(anext(source, None))
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait([first, disconnect], return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise ApiError(499, "client_closed_request", "The client has disconnected.")
        return first.result()
    finally:
        for task in (first, disconnect):
            task.cancel()
        await asyncio.gather(first, disconnect, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
