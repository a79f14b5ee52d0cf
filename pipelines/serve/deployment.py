"""The endpoint on Ray Serve: one replica with the HTTP app and the engine, behind Serve's proxy.

    longtake serve serve.takes=takes                                              its own Ray, or the one at ray.address
    serve run longtake.pipelines.serve.deployment:build_app serve.takes=takes     a running Ray
    serve deploy conf/serve.yaml                                                  the same from a file, also to redeploy

All state is in the library of takes: Serve restarts a replica that dies, and the new one continues from there.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import ProxyLocation
from ray.serve.handle import DeploymentHandle

from longtake.models.stages.params import BUNDLE
from longtake.pipelines.config.conf import DEFAULT_CONFIG
from longtake.pipelines.config.model_folders import lasting_place
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.ray_cluster import Factories, connect
from longtake.pipelines.serve.checks import check
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http.app import create_app
from longtake.pipelines.serve.http.backpressure import PROXY_CALLBACK, proxy_middleware
from longtake.pipelines.serve.library.takes import Takes
from longtake.pipelines.serve.settings import ServeConf, load_serve
from longtake.pipelines.terminal.progress import doing
from longtake.pipelines.terminal.signals import own_signals

logger = logging.getLogger(__name__)
NAME = "longtake"
STORE_PATIENCE_S = 5.0  # for an object store that does not answer: requests wait meanwhile
STOP_S = 10.0  # beyond `drain_s`, for the rest of a shutdown


@serve.deployment(
    num_replicas=1,  # two engines would make the same videos
    max_ongoing_requests=100_000,  # a stream is one request for an hour; the app has its own limits
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=5,
    health_check_timeout_s=30,
)
@serve.ingress()
class Endpoint:
    """The engine, in a thread, and the HTTP app."""

    def __init__(self, conf: ServeConf, factories: Factories | None = None) -> None:
        """`factories` replace the bundle's stages in tests."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        self._conf, self._takes = conf, Takes(Store(conf.serve.takes, STORE_PATIENCE_S))
        self._engine = Engine(conf, self._takes, factories)
        self._app = create_app(self._engine, self._takes, conf)
        self._engine.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app

    def check_health(self) -> None:
        """Raises RuntimeError if the engine has failed; Serve then starts another replica."""
        if self._engine.state == "failed":
            raise RuntimeError(f"the engine has failed: {self._engine.why}")

    def state(self) -> tuple[str, str]:
        """The state of the engine, and the reason for it."""
        return self._engine.state, str(self._engine.why or "")

    async def drain(self) -> None:
        """Accepts no new videos. Running work has `drain_s` to be saved; the rest waits on disk for the next start."""
        await asyncio.to_thread(self._engine.close, self._conf.serve.drain_s)

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):  # it does not if the constructor raised
            await self.drain()


def build_app(args: Mapping[str, Any]) -> serve.Application:
    """The application of `serve run` and `serve deploy`: `config` is a YAML file, other arguments are settings.

    Raises ValueError naming key, value and rule.
    """
    settings = dict(_flat(args))
    config = settings.pop("config", DEFAULT_CONFIG)
    overrides = [f"{key}={value}" for key, value in settings.items() if isinstance(value, str)]  # `serve run` has texts
    typed = tuple((key, value) for key, value in settings.items() if not isinstance(value, str))
    conf = load_serve(config, overrides, typed)
    check(conf)
    return application(conf)


def application(conf: ServeConf, factories: Factories | None = None) -> serve.Application:
    """The application that Serve runs."""
    timeout_s = conf.serve.drain_s + STOP_S
    deployment = Endpoint.options(graceful_shutdown_timeout_s=timeout_s)  # type: ignore[attr-defined]
    app: serve.Application = deployment.bind(_absolute(conf), factories)
    return app


def serve_forever(conf: ServeConf, factories: Factories | None = None) -> None:
    """Starts the endpoint, prints its URL once it is ready, and stops it at KeyboardInterrupt.

    Raises RuntimeError if it cannot start.
    """
    os.environ.setdefault(PROXY_CALLBACK, f"{proxy_middleware.__module__}.{proxy_middleware.__name__}")
    connect(conf.ray)
    ready = False
    try:
        with doing("starting Ray Serve"), own_signals():
            start(conf)
        run(conf, factories)
        ready = True
        print(url_of(conf), flush=True)
        while True:
            time.sleep(3600)
    finally:
        _stop(conf, ready)


def start(conf: ServeConf) -> None:
    """Starts Serve and its proxy in a running Ray, without a timeout: a stream may last for hours."""
    options = {"host": conf.serve.host, "port": conf.serve.port, "request_timeout_s": None}
    serve.start(ProxyLocation.HeadOnly, options)


def run(conf: ServeConf, factories: Factories | None = None) -> None:
    """Deploys the endpoint and waits until it is ready. Raises RuntimeError if it cannot start."""
    try:
        with doing("starting the endpoint"), own_signals():
            handle = serve.run(application(conf, factories), name=NAME)
    except RuntimeError as error:
        raise RuntimeError(f"the endpoint cannot start: {_deployment_error() or error}") from None
    with doing("loading the models"):
        _wait_until_ready(handle, url_of(conf), conf.ray.start_timeout_s)


def url_of(conf: ServeConf) -> str:
    """The URL of the endpoint for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(conf.serve.host, conf.serve.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{conf.serve.port}"


def _deployment_error() -> str:
    """The exception of the replica's constructor, as far as Serve has kept it."""
    status = serve.status().applications.get(NAME)
    return last_exception("\n".join(deployment.message for deployment in status.deployments.values()) if status else "")


def last_exception(text: str) -> str:
    """The last line of a text with tracebacks that names an exception, or else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    exceptions = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (exceptions or lines or [""])[-1]


def _wait_until_ready(handle: "DeploymentHandle[Any]", url: str, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    opener = build_opener(ProxyHandler({}))  # never through a proxy of the environment
    while time.monotonic() < until:
        with suppress(HTTPError, URLError, ConnectionError, TimeoutError), opener.open(f"{url}/health", timeout=5):
            return
        state, why = handle.state.remote().result(timeout_s=60)
        if state == "failed":
            raise RuntimeError(f"the endpoint cannot start: {why}")
        time.sleep(0.2)
    raise RuntimeError(f"the endpoint was not ready within ray.start_timeout_s={timeout_s:g} s")


def _stop(conf: ServeConf, ready: bool) -> None:
    """Saves running work, then stops the replica, and Ray if this process started it."""
    try:
        try:
            handle = serve.get_app_handle(NAME)
            handle.drain.remote().result(timeout_s=conf.serve.drain_s + STOP_S)
        finally:
            serve.delete(NAME)
    except Exception as error:
        if ready:  # otherwise the reason has been raised already
            logger.warning("the endpoint did not stop cleanly; videos will continue from what is stored: %s", error)
    if conf.ray.address is None:  # started here; Serve ends with it
        ray.shutdown()


def _flat(settings: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", tuple(value) if isinstance(value, list) else value


def _absolute(conf: ServeConf) -> ServeConf:
    """`conf` with absolute paths: the replica runs in another folder."""
    keys_file = None if conf.serve.keys_file is None else str(Path(conf.serve.keys_file).absolute())
    takes = Store(conf.serve.takes).url
    return replace(
        conf,
        bundle=lasting_place(conf.bundle),
        opener=replace(conf.opener, model=_lasting(conf.opener.model)),
        refiner=replace(conf.refiner, model=_lasting(conf.refiner.model)),
        serve=replace(conf.serve, keys_file=keys_file, takes=takes),
    )


def _lasting(model: str | None) -> str | None:
    return model if model in (None, BUNDLE) else lasting_place(model)
