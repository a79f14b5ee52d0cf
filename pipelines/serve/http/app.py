"""The app: all routes behind one Guard."""

from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

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
from longtake.pipelines.serve.http.access import Guard
from longtake.pipelines.serve.http.backpressure import Paced
from longtake.pipelines.serve.http.errors import HANDLERS
from longtake.pipelines.serve.http.keys import Keys, read_keys
from longtake.pipelines.serve.http.openapi import document
from longtake.pipelines.serve.http.request_checks import Checker
from longtake.pipelines.serve.http.video_service import Desk
from longtake.pipelines.serve.library.takes import Takes
from longtake.pipelines.serve.settings import ServeConf

PAGE = Path(__file__).parent / "page"
DESCRIPTION = """Long videos from text, that play while they are made.

Every request but those to `/health` and the page carries a key, `Authorization: Bearer KEY`, where the endpoint has
keys. Every refusal has the form `{"error": {"message", "type", "param", "code"}}`. `WS /v1/stream` is one socket for
one video, with JSON to ask and to tell and binary fragments.
"""


def create_app(engine: Engine, takes: Takes, conf: ServeConf, bundle: Bundle | None = None) -> FastAPI:
    """`bundle` checks prompts; by default the texts of the one that `conf` names.

    Raises ValueError for a file of keys, or a bundle, that cannot be read.
    """
    keys = read_keys(conf.serve.keys_file)
    page = {"/": PAGE / "index.html", **{f"/{path.name}": path for path in PAGE.glob("*.*")}}
    app = FastAPI(
        title="Longtake",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        exception_handlers=HANDLERS,
        middleware=_middleware(conf, keys, page),
    )
    checker = Checker(conf, bundle or build_texts(conf), limits_of(conf).size_multiple)
    app.state.keys, app.state.desk = keys, Desk(engine, takes, checker)
    for part in (videos, streams, hls, service, socket):
        app.include_router(part.router)
    for at, path in page.items():
        _add_file(app, at, path)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _middleware(conf: ServeConf, keys: Keys, page: Collection[str]) -> list[Middleware]:
    """Guard is inside: what it refuses can be read by the pages that may ask."""
    paced, guard = Middleware(Paced), Middleware(Guard, params=conf.serve, keys=keys, open_paths=page)
    if not conf.serve.cors_origins:
        return [paced, guard]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=conf.serve.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Range", "Last-Event-ID"],
        expose_headers=["Content-Range", "ETag", "Retry-After", streams.ID_HEADER],
    )
    return [paced, cors, guard]


def _add_file(app: FastAPI, at: str, path: Path) -> None:
    async def send() -> Response:
        return FileResponse(path, headers={"Cache-Control": "no-cache"})  # asked for again by its ETag

    app.add_api_route(at, send, methods=["GET", "HEAD"], include_in_schema=False)
