"""The public form of videos."""

import asyncio

import httpx2
import pytest

from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config import loader
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.http.app import create_app
from longtake.pipelines.serve.library.takes import Status, Take, Takes, new_id
from longtake.pipelines.serve.settings import load_serve
from tests.support.toy import ToyBundle


@pytest.fixture
def app_and_takes(tmp_path):
    """An app whose engine has not started: a listing needs none."""
    conf = load_serve(overrides=[f"serve.takes={tmp_path}/takes"])
    takes = Takes(Store(conf.serve.takes))
    return create_app(Engine(conf, takes), takes, conf, ToyBundle()), takes


def get(app, path, **params):
    async def run():
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, params=params)

    return asyncio.run(run()).json()


def take_of(**fields):
    size = {"fps": 8, "width": 32, "height": 16, "created_at": 1000, "num_frames": 8, "seed": 7}
    return Take(id=new_id(), prompt="a red circle", coupling=Coupling.CAUSAL, status=Status.COMPLETED, **size, **fields)


def test_a_listing_of_100_videos_builds_no_configuration(app_and_takes, monkeypatch):
    app, takes = app_and_takes
    for steps in range(1, 101):
        takes.create(take_of(num_inference_steps=steps, guidance_scale=steps / 8))

    def build(*args):
        raise AssertionError("a configuration was built")

    monkeypatch.setattr(loader, "_build", build)
    videos = get(app, "/v1/videos", limit=100, order="asc")["data"]
    assert [video["num_inference_steps"] for video in videos] == list(range(1, 101))
    assert [video["guidance_scale"] for video in videos] == [steps / 8 for steps in range(1, 101)]


def test_a_take_without_steps_and_guidance_has_those_of_the_endpoint(app_and_takes):
    app, takes = app_and_takes
    video = get(app, f"/v1/videos/{takes.create(take_of()).id}")
    base = load_serve().base
    assert (video["num_inference_steps"], video["guidance_scale"]) == (base.num_inference_steps, base.guidance_scale)
