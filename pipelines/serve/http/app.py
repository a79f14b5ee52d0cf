"""The HTTP app: all routes behind access control."""

from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware import Middleware

from longtake import __version__
from longtake.models.stages.bundle import Bundle
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.runners.stages import build_texts
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http import routes_hls as hls
from longtake.pipelines.serve.http import routes_service as service
from longtake.pipelines.serve.http import routes_socket as socket
from longtake.pipelines.serve.http import routes_streams as streams
from longtake.pipelines.serve.http import routes_videos as videos
from longtake.pipelines.serve.http.access import METHODS, AccessControl
from longtake.pipelines.serve.http.backpressure import FlowControl
from longtake.pipelines.serve.http.closing import Closing
from longtake.pipelines.serve.http.cors import Cors
from longtake.pipelines.serve.http.errors import HANDLERS
from longtake.pipelines.serve.http.file_responses import page_response
from longtake.pipelines.serve.http.keys import Keys, read_keys
from longtake.pipelines.serve.http.openapi import document
from longtake.pipelines.serve.http.request_checks import RequestChecker
from longtake.pipelines.serve.http.request_line import RequestLine, add_heads, methods_of
from longtake.pipelines.serve.http.video_service import VideoService
from longtake.pipelines.serve.library.takes import Takes
from longtake.pipelines.serve.settings import ServeConf

PAGE = Path(__file__).parent / "page"
ROUTERS = (videos.router, streams.router, hls.router, service.router, socket.router)
for _router in ROUTERS:
    add_heads(_router)
DESCRIPTION = """Long videos from text that play while they are generated.

If the endpoint has API keys, every request except those to `/health` and the page needs one: `Authorization: Bearer
KEY`. Every refusal has the form `{"error": {"message", "type", "param", "code"}}`. `WS /v1/stream` is a WebSocket that
generates one video, with JSON messages and binary fragments.
"""


def create_app(engine: Engine, takes: Takes, conf: ServeConf, bundle: Bundle | None = None) -> FastAPI:
    """The app of an endpoint. `bundle` checks prompts; by default its texts are loaded from the one that `conf` names.

    Raises ValueError for a file of keys or a bundle that cannot be read.
    """
    keys = read_keys(conf.serve.keys_file)
    page = {"/": PAGE / "index.html", **{f"/{path.name}": path for path in PAGE.glob("*.*")}}
    app = FastAPI(
        title="Longtake",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        exception_handlers=HANDLERS,
        middleware=_middleware(conf, keys, page, engine),
    )
    checker = RequestChecker(conf, bundle or build_texts(conf), limits_of(conf))
    app.state.keys, app.state.service = keys, VideoService(engine, takes, checker)
    for router in ROUTERS:
        app.include_router(router)
    for at, path in page.items():
        _add_file(app, at, path)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _middleware(conf: ServeConf, keys: Keys, page: Collection[str], engine: Engine) -> list[Middleware]:
    """CORS is outside access control, so that pages of allowed origins can read its refusals."""
    flow = Middleware(FlowControl)
    access = Middleware(AccessControl, params=conf.serve, keys=keys, open_paths=page, upload_paths=videos.UPLOAD_PATHS)
    closing = Middleware(Closing, engine=engine)
    files = {path: {"GET", "HEAD", "OPTIONS"} for path in (*page, "/openapi.json")}
    request_line = Middleware(RequestLine, methods={**methods_of(ROUTERS), **files})
    if not conf.serve.cors_origins:
        return [flow, access, closing, request_line]
    cors = Middleware(
        Cors,
        allow_origins=conf.serve.cors_origins,
        allow_methods=METHODS,
        allow_headers=["*"],
        expose_headers=["Allow", "Content-Range", "ETag", "Retry-After", "WWW-Authenticate", streams.ID_HEADER],
        allow_private_network=True,  # an allowed page on the internet may use an endpoint on this machine
    )
    return [flow, cors, access, closing, request_line]


def _add_file(app: FastAPI, at: str, path: Path) -> None:
    async def send(request: Request) -> Response:
        return await page_response(request, path)

    app.add_api_route(at, send, methods=["GET", "HEAD"], include_in_schema=False)
