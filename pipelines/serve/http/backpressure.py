"""No more bytes on their way to a client than it takes: what Serve's proxy itself does not see to.

    replica   app ──► Paced ──►  any number of messages  ──► Acknowledge ──► client   proxy
                        ▲                                         │
                        └───────── so many bytes have gone ───────┘

Between them is a queue without a bound: two clients that did not read a file of 500 MiB cost the replica 1.1 GiB and
the object store 1 GiB. With both ends the replica reads the file at the pace of the client.

1. At most `WINDOW_BYTES` and one message are on their way. They count as gone when the client's socket has taken them.
2. The proxy tells of every `TOLD_BYTES`, so of a short answer nothing.
3. Without `Acknowledge` (a header says that it is there) nothing is counted, and nothing waits.
"""

import asyncio
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WINDOW_BYTES, TOLD_BYTES = 2**22, 2**20
HEADER = b"longtake-proxy-tells"
GONE = "longtake.gone"  # type of the message that says how many bytes have gone
PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"  # in the environment in which Ray is started


def proxy_middleware() -> list[Middleware]:
    """For Serve's proxy: PROXY_CALLBACK names it."""
    return [Middleware(Acknowledge)]


class Acknowledge:
    """ASGI, in the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != HEADER]
        told = _Told(receive, send)
        try:
            await self._app({**scope, "headers": [*headers, (HEADER, b"1")]}, told.receive, told.send)
        finally:
            told.close()


class _Told:
    """`receive` gives what the client sends, and between it how much has gone."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._gone: asyncio.Queue[int] = asyncio.Queue()
        self._untold = 0
        self._next: asyncio.Future[Message] | None = None  # from the client

    async def send(self, message: Message) -> None:
        await self._send(message)  # waits while the client's socket is full
        self._untold += _size(message)
        if self._untold >= TOLD_BYTES:
            self._gone.put_nowait(self._untold)
            self._untold = 0

    async def receive(self) -> Message:
        self._next = self._next or asyncio.ensure_future(self._receive())
        gone = asyncio.ensure_future(self._gone.get())
        try:
            both: list[asyncio.Future[Any]] = [self._next, gone]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return {"type": GONE, "bytes": gone.result()}
        finally:
            gone.cancel()
        message, self._next = self._next.result(), None
        return message

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()


class Paced:
    """ASGI, in the replica, around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if HEADER not in dict(scope.get("headers", ())):
            await self._app(scope, receive, send)
            return
        way = _Way(send)
        listener = asyncio.create_task(way.listen(receive))
        try:
            await self._app(scope, way.receive, way.send)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)


class _Way:
    """From the app to one client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: asyncio.Queue[Message | Exception] = asyncio.Queue()  # from the client
        self._last: Message | Exception | None = None  # after which nothing comes from it
        self._num_bytes = 0
        self._has_room = asyncio.Event()

    async def listen(self, receive: Receive) -> None:
        while self._last is None:
            message: Message | Exception
            try:
                message = await receive()
            except Exception as error:  # the app is told, when it asks
                message = error
            if not isinstance(message, Exception) and message["type"] == GONE:
                self._num_bytes -= message["bytes"]
            else:
                if isinstance(message, Exception) or message["type"].endswith(".disconnect"):
                    self._last = message
                self._messages.put_nowait(message)
            self._has_room.set()

    async def receive(self) -> Message:
        is_over = self._last is not None and self._messages.empty()
        message = self._last if is_over else await self._messages.get()
        if isinstance(message, Exception):
            raise message
        assert message is not None, "it is over when there is a last one"
        return message

    async def send(self, message: Message) -> None:
        while self._num_bytes >= WINDOW_BYTES and self._last is None:
            self._has_room.clear()
            await self._has_room.wait()
        self._num_bytes += _size(message)
        await self._send(message)


def _size(message: Message) -> int:
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")
