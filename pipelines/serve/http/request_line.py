"""The method, path and query of a request, as RFC 9110 defines them and as people write them.

1. A path has the methods of all its routes, HEAD wherever it has GET, and OPTIONS.
2. Any other method is refused with 405, and `Allow` lists the path's methods. A path with a fixed name, such as
   /v1/videos/extensions, is never the id of a video.
3. OPTIONS is answered with `Allow` and does nothing.
4. A WebSocket at a path without one is refused with 404.
5. A slash at the end of a path makes no difference, and an empty query parameter counts as absent.
"""

from collections.abc import Collection, Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from longtake.pipelines.serve.http.errors import ApiError

SOCKET = "/v1/stream"


def add_heads(router: APIRouter) -> None:
    """Adds HEAD to all GET routes of `router`, outside the OpenAPI document."""
    for route in [route for route in router.routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]:
        router.add_api_route(
            route.path.removeprefix(router.prefix),
            route.endpoint,
            methods=["HEAD"],
            response_model=route.response_model,
            include_in_schema=False,
        )


def methods_of(routers: Iterable[APIRouter]) -> dict[str, set[str]]:
    """The methods of each path."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(route.path, {"OPTIONS"}).update(route.methods or ())
    return found


class RequestLine:
    """ASGI middleware that applies the rules above. Paths that it does not know are left to the app."""

    def __init__(self, app: ASGIApp, methods: dict[str, Collection[str]]) -> None:
        self._app = app
        fixed_first = sorted(methods.items(), key=lambda item: "{" in item[0])
        self._paths = [(compile_path(path)[0], frozenset(names)) for path, names in fixed_first]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] != SOCKET:
            raise ApiError(404, "not_found", "There is no WebSocket at this URL.")
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path.endswith("/") and path != "/":
            path = path[:-1]
            scope = {**scope, "path": path, "raw_path": scope.get("raw_path", b"").removesuffix(b"/")}
        given = [one for one in scope["query_string"].split(b"&") if one.partition(b"=")[2]]
        scope = {**scope, "query_string": b"&".join(given)}
        methods = next((names for pattern, names in self._paths if pattern.match(path)), None)
        allow, method = ", ".join(sorted(methods or ())), scope["method"]
        if methods is not None and method == "OPTIONS":
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
            return
        if methods is not None and method not in methods:
            refusal = ApiError(405, "method_not_allowed", f"{method[:20]} is not allowed here, only {allow}.")
            refusal.headers["Allow"] = allow
            raise refusal
        await self._app(scope, receive, send)
