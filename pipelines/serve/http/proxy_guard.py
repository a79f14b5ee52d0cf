"""Replaces what Serve's proxy answers by itself with our own refusals. The replica marks its answers; those pass.

1. Paths of the proxy (`/-/routes`, `/-/healthz`) do not exist: they would bypass all checks. Serve checks its proxy
   through an actor's method instead. Nor does `*`, which has no route, however long a client waits.
2. While no replica answers, the answer is 503: before the first deployment, while the endpoint stops, after
   `serve delete`, when a replica dies. Serve says 404 in some of these cases, and a client would give up on its video.
3. A WebSocket whose replica dies is closed with SERVICE_RESTART, not as if all were well. A response is cut off.
4. Headers by which clients could steer the proxy are removed.
"""

import logging
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.front_door import refusal_response

logger = logging.getLogger(__name__)
PROXY_PATHS = "/-/"
SERVICE_RESTART = 1012
MARK = (b"longtake-replica", b"1")  # of the responses of our app
STEERING = {b"x-request-timeout-seconds", b"serve_multiplexed_model_id", b"serve-multiplexed-model-id", MARK[0]}
REQUEST_ID, VALID_ID = b"x-request-id", re.compile(rb"[\w.-]{1,80}")  # the response repeats it
STARTS = ("http.response.start", "websocket.http.response.start")


class ProxyGuard:
    """ASGI middleware of the proxy, around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(receive, send)
        if scope["path"].startswith(PROXY_PATHS) or not scope["path"].startswith("/"):
            refusal = ApiError(404, "not_found", "No such URL.")
        else:
            refusal = ApiError(503, "service_unavailable", "The endpoint is starting or stopping.", retry_after_s=5)
            try:
                await self._app({**scope, "headers": _safe(scope["headers"])}, client.receive, client.send)
            except Exception:
                if client.answered:
                    raise
                logger.exception("request failed path=%s", scope["path"])
                refusal = ApiError(500, "internal_error", "Internal server error.")
        if not client.answered:
            await refusal_response(refusal)(scope, receive, send)
        elif client.is_open_socket:
            await send({"type": "websocket.close", "code": SERVICE_RESTART, "reason": "service_unavailable"})


class _Client:
    """The client's side of a connection; answers that are not the replica's do not reach it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.answered = False
        self.is_open_socket = False  # it was accepted, and no side has closed it

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.is_open_socket = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] in STARTS and not self.answered:
            headers = list(message.get("headers", ()))
            if MARK not in headers:
                return
            message = {**message, "headers": [header for header in headers if header != MARK]}
            self.answered = True
        elif message["type"] in ("websocket.accept", "websocket.close"):
            self.answered, self.is_open_socket = True, message["type"] == "websocket.accept"
        if self.answered:
            await self._send(message)


def _safe(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in headers
        if name not in STEERING and (name != REQUEST_ID or VALID_ID.fullmatch(value))
    ]
