"""The guard of the proxy around apps that behave as Serve's does."""

import asyncio
import json

import pytest

from longtake.pipelines.serve.http.backpressure import Acknowledge, FlowControl
from longtake.pipelines.serve.http.proxy_guard import ProxyGuard

pytestmark = pytest.mark.report("A3", "A11")


def answers(app, path="/v1/videos/x", kind="http", headers=(), incoming=()):
    """The messages that a client gets from `app` behind the guard."""
    sent, waiting = [], [*incoming]

    async def send(message):
        sent.append(message)

    async def receive():
        return waiting.pop(0) if waiting else await asyncio.sleep(60)

    extensions = {"websocket.http.response": {}}
    scope = {"type": kind, "method": "GET", "path": path, "headers": [*headers], "extensions": extensions}
    asyncio.run(asyncio.wait_for(ProxyGuard(app)(scope, receive, send), 10))
    return sent


def refusal(sent):
    """(status, code, headers) of the answer."""
    start, body = sent
    error = json.loads(body["body"])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    headers = dict(start["headers"])
    assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"cache-control"] == b"no-store"
    return start["status"], error["code"], headers


def says(status, body=b"Path '/' not found. Ping http://.../-/routes for available routes."):
    """An app that answers as Serve's proxy itself does."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})

    return app


async def nothing(scope, receive, send):
    """The replica died before it answered."""


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "app", [says(404), says(500), says(503), says(200), nothing], ids=["404", "500", "503", "200", "nothing"]
)
def test_what_does_not_come_from_a_replica_is_a_503(kind, app):
    status, code, headers = refusal(answers(app, kind=kind))
    assert (status, code, headers[b"retry-after"]) == (503, "service_unavailable", b"5")


def test_an_error_of_the_proxy_is_a_500_in_our_form():
    async def app(scope, receive, send):
        raise ValueError("a secret")

    assert refusal(answers(app))[:2] == (500, "internal_error")


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz", "/-/", "/-/anything", "*"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_paths_of_the_proxy_itself_do_not_exist(path, kind):
    assert refusal(answers(says(200), path, kind))[:2] == (404, "not_found")


def test_an_answer_of_the_replica_passes_unchanged():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"ours", "more_body": True})

    start, body = answers(Acknowledge(FlowControl(app)))  # cut: the end is missing, and is not invented
    assert start == {"type": "http.response.start", "status": 404, "headers": [(b"a", b"b")]}
    assert body == {"type": "http.response.body", "body": b"ours", "more_body": True}


@pytest.mark.parametrize(
    ("more", "last"),
    [
        ([], {"type": "websocket.close", "code": 1012, "reason": "service_unavailable"}),
        ([{"type": "websocket.close", "code": 1000}], {"type": "websocket.close", "code": 1000}),
    ],
)
def test_a_socket_whose_replica_dies_is_not_closed_as_if_all_were_well(more, last):
    async def app(scope, receive, send):
        for message in ({"type": "websocket.accept"}, *more):
            await send(message)

    assert answers(app, kind="websocket")[-1] == last


def test_a_socket_that_the_client_closed_is_left_alone():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"

    gone = {"type": "websocket.disconnect", "code": 1001}
    assert answers(app, kind="websocket", incoming=[gone]) == [{"type": "websocket.accept"}]


def test_headers_that_steer_the_proxy_do_not_reach_it():
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    kept = [(b"x-request-id", b"3b2f-1"), (b"accept", b"*/*")]
    dropped = [
        (b"x-request-timeout-seconds", b"0.001"),
        (b"serve_multiplexed_model_id", b"\xff"),
        (b"x-request-id", b"\xff\xfe"),
        (b"longtake-replica", b"1"),
    ]
    answers(app, headers=[*kept, *dropped])
    assert seen == kept
