"""Requests while the engine cannot answer them."""

import asyncio
from types import SimpleNamespace

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from longtake.pipelines.serve.http.closing import Closing


def status(path, state, is_open):
    engine = SimpleNamespace(state=state, is_open=is_open)

    async def ask():
        transport = httpx2.ASGITransport(Closing(PlainTextResponse("well"), engine))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path)

    answer = asyncio.run(ask())
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "service_unavailable" and answer.headers["retry-after"] == "5"
    return answer.status_code


@pytest.mark.report("A3")
@pytest.mark.parametrize(
    ("path", "expected"),
    [  # starting before the library is read, and after it; ready; draining before and after its end; failed
        ("/v1/videos/video_1", [503, 200, 200, 503, 503, 503]),
        ("/v1/stream", [503, 200, 200, 503, 503, 503]),
        ("/v1/models", [200, 200, 200, 503, 503, 200]),
        ("/", [200, 200, 200, 503, 503, 200]),
        ("/health", [200] * 6),  # the app's own answer
    ],
)
def test_what_cannot_be_told_truly_is_a_503(path, expected):
    states = [("starting", False), ("starting", True), ("ready", True), ("draining", True), ("draining", False)]
    assert [status(path, *state) for state in (*states, ("failed", False))] == expected
