"""Flow control between the app and a client: Serve's proxy has none of its own. And the middleware of that proxy.

    replica   app ──► FlowControl ──►  any number of messages  ──► Acknowledge ──► client   proxy
                           ▲                                            │
                           └──────── acknowledged: N bytes sent ────────┘

The queue between replica and proxy has no limit: two clients that did not read a file of 500 MiB cost the replica
1.1 GiB and the object store 1 GiB. With both ends in place the replica reads the file at the client's pace.

1. At most `WINDOW_BYTES` and one message are unacknowledged. A byte is acknowledged once the client's socket took it.
2. The proxy acknowledges every `ACK_BYTES`, so a short response is never acknowledged.
3. The replica's responses carry a MARK for ProxyGuard.
4. Without `Acknowledge` (it announces itself in a header) nothing is counted and nothing waits.
"""

import asyncio
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longtake.pipelines.serve.http.front_door import install
from longtake.pipelines.serve.http.proxy_guard import MARK, STARTS, ProxyGuard

WINDOW_BYTES, ACK_BYTES = 2**22, 2**20
HEADER = b"longtake-flow-control"
ACK = "longtake.ack"  # type of the message that acknowledges a number of bytes
PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"  # in the environment in which Ray is started


def proxy_middleware() -> list[Middleware]:
    """The middleware of Serve's proxy, the outermost last. Serve calls it there, as PROXY_CALLBACK names it."""
    install()
    return [Middleware(Acknowledge), Middleware(ProxyGuard)]


class Acknowledge:
    """ASGI middleware of the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != HEADER]
        channel = _AckChannel(receive, send)
        try:
            await self._app({**scope, "headers": [*headers, (HEADER, b"1")]}, channel.receive, channel.send)
        finally:
            channel.close()


class _AckChannel:
    """A client whose messages are mixed with acknowledgements of the bytes sent to it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._acks: asyncio.Queue[int] = asyncio.Queue()
        self._unacknowledged = 0
        self._next: asyncio.Future[Message] | None = None  # from the client

    async def send(self, message: Message) -> None:
        await self._send(message)  # waits while the client's socket is full
        self._unacknowledged += _size(message)
        if self._unacknowledged >= ACK_BYTES:
            self._acks.put_nowait(self._unacknowledged)
            self._unacknowledged = 0

    async def receive(self) -> Message:
        self._next = self._next or asyncio.ensure_future(self._receive())
        ack = asyncio.ensure_future(self._acks.get())
        try:
            both: list[asyncio.Future[Any]] = [self._next, ack]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if ack.done():
                return {"type": ACK, "bytes": ack.result()}
        finally:
            ack.cancel()
        message, self._next = self._next.result(), None
        return message

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()


class FlowControl:
    """ASGI middleware of the replica, around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if HEADER not in dict(scope.get("headers", ())):
            await self._app(scope, receive, send)
            return
        window = _SendWindow(send)
        reader = asyncio.create_task(window.read(receive))
        try:
            await self._app(scope, window.receive, window.send)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


class _SendWindow:
    """A connection on which `send` waits while too many bytes are unacknowledged."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: asyncio.Queue[Message | Exception] = asyncio.Queue()  # from the client
        self._last: Message | Exception | None = None  # the client's last message
        self._num_bytes = 0  # unacknowledged
        self._has_room = asyncio.Event()

    async def read(self, receive: Receive) -> None:
        """Reads messages and acknowledgements until the client disconnects."""
        while self._last is None:
            message: Message | Exception
            try:
                message = await receive()
            except Exception as error:  # raised where the app receives
                message = error
            if not isinstance(message, Exception) and message["type"] == ACK:
                self._num_bytes -= message["bytes"]
            else:
                if isinstance(message, Exception) or message["type"].endswith(".disconnect"):
                    self._last = message
                self._messages.put_nowait(message)
            self._has_room.set()

    async def receive(self) -> Message:
        """The client's next message; after the last one, the last one again."""
        is_over = self._last is not None and self._messages.empty()
        message = self._last if is_over else await self._messages.get()
        if isinstance(message, Exception):
            raise message
        assert message is not None, "there is a last message when the connection is over"
        return message

    async def send(self, message: Message) -> None:
        while self._num_bytes >= WINDOW_BYTES and self._last is None:
            self._has_room.clear()
            await self._has_room.wait()
        self._num_bytes += _size(message)
        if message["type"] in STARTS:
            message = {**message, "headers": [*message.get("headers", ()), MARK]}
        await self._send(message)


def _size(message: Message) -> int:
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")
