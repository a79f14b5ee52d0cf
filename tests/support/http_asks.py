"""Requests to the HTTP app in this process, without a server, Ray or an engine that runs."""

import asyncio
from dataclasses import replace

import httpx2

from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http.app import create_app
from longtake.pipelines.serve.http.json_text import parse_object
from longtake.pipelines.serve.http.request_body import from_fields
from longtake.pipelines.serve.library.paths import VIDEO, fragment_name, path_of, preview_name
from longtake.pipelines.serve.library.takes import Status, Take, Takes, new_id
from longtake.pipelines.serve.settings import load_serve
from tests.support.toy import ToyBundle


class IdleEngine(Engine):
    """It has not started, and takes no calls; but requests may read the library."""

    is_open = True


class Desk:
    """An app whose engine has not started, and its library."""

    def __init__(self, folder, *overrides):
        conf = load_serve(overrides=[f"serve.takes={folder}/takes", *overrides])
        self.takes = Takes(Store(conf.serve.takes))
        self.engine = IdleEngine(conf, self.takes)
        self.app = create_app(self.engine, self.takes, conf, ToyBundle())

    def ask(self, method, path, key=None, address="127.0.0.1", **options):
        """The response to a request from `address`."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **options.pop("headers", {})}

        async def run():
            transport = httpx2.ASGITransport(self.app, client=(address, 1))
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(run())

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def add(self, status=Status.COMPLETED, fragments=0, **fields):
        """A take in the library, with the files that it would have; `fragments` are 3 when it is complete.

        It has 3 segments and 6 chunks.
        """
        values = {"fps": 8, "width": 32, "height": 16, "created_at": 1000, "num_frames": 56, "seed": 7, **fields}
        take = Take(id=new_id(), prompt="a red circle", coupling=Coupling.CAUSAL, **values)
        error = ("cancelled", "The video was cancelled.") if status is Status.FAILED else None
        take = replace(take, status=status, error=error, fragments=(4,) * fragments)
        store = self.takes.store
        for index in range(fragments):
            store.put(path_of(take.id, fragment_name(index)), b"%04d" % index)
        for index in range(6 if fragments == 3 else fragments):
            store.put(path_of(take.id, preview_name(index)), b"%04d" % index)
        if status is Status.COMPLETED:
            take = replace(take, completed_at=2000)
            store.put(path_of(take.id, VIDEO), b"a video")
        return self.takes.create(take)


def from_json(text, kind):
    """The request of this kind that a text of JSON holds."""
    return from_fields(parse_object(text), kind)


def refusal(response):
    """(status, code) of a refusal."""
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.status_code, response.json()["error"]["code"]
