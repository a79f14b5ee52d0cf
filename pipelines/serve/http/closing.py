"""503 while the endpoint cannot give true answers about its videos."""

from starlette.types import ASGIApp, Receive, Scope, Send

from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http.errors import unavailable

VIDEOS = ("/v1/videos", "/v1/stream")
HEALTH = "/health"  # has its own answer


class Closing:
    """ASGI middleware inside access control.

    1. From the first moment of a shutdown every request is refused; those in progress go on until the engine has
       stopped, which cuts streams and ends events with `interrupted`.
    2. Before the library is read, requests about videos are refused: 404 would be wrong.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app, self._engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, path = self._engine.state, scope.get("path", HEALTH)
        unread = not self._engine.is_open and path.startswith(VIDEOS)
        if path != HEALTH and (unread or state == "draining"):
            await unavailable(state).response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)
