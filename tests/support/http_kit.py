"""The HTTP app with a real engine on toy stages, behind a real server, in this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import uvicorn

from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http.app import create_app
from longtake.pipelines.serve.library.takes import Takes
from longtake.pipelines.serve.settings import load_serve
from tests.support.ray_toys import ToyFactory
from tests.support.toy import ToyBundle

TOY = ("refiner.num_inference_steps=4", "refiner.height=32", "refiner.width=32")
PROMPT = "a red circle moves right"


@dataclass
class Kit:
    """A running endpoint and its clients."""

    url: str
    engine: Engine
    takes: Takes
    app: object

    def client(self, key: str | None = None, **options) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def wait(self, client: httpx2.Client, video_id: str, *statuses: str, timeout_s: float = 60) -> dict:
        """Waits until the video has one of these states (completed by default); returns the video."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            video = client.get(f"/v1/videos/{video_id}").json()
            if video["status"] in (statuses or ("completed",)):
                return video
            assert video["status"] != "failed", video
            time.sleep(0.02)
        raise AssertionError(f"not {statuses} in time: {video}")


@contextmanager
def running(folder, *overrides: str, toys: bool = True, **toy) -> Iterator[Kit]:
    """An endpoint on toy stages with these fields of ToyFactory, or on the bundle."""
    conf = load_serve(overrides=[*TOY, f"serve.takes={folder}/takes", *overrides])
    factories = {stage: ToyFactory(stage, rgb=True, **toy) for stage in ("base", "refiner")} if toys else None
    takes = Takes(Store(conf.serve.takes))
    engine = Engine(conf, takes, factories)
    app = create_app(engine, takes, conf, ToyBundle() if toys else None)
    engine.start()
    try:
        wait_for(lambda: engine.state != "starting", 120)
        assert engine.state == "ready", engine.why
        with served(app) as url:
            yield Kit(url, engine, takes, app)
    finally:
        engine.close(0)


@contextmanager
def served(app) -> Iterator[str]:
    """Serves an ASGI app on a free port; gives its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, 30)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_for(holds, timeout_s: float) -> float:
    """Waits until `holds()` is true; returns the seconds that passed."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.01)
    return time.monotonic() - start
