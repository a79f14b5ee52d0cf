"""Methods of paths: HEAD, OPTIONS, and refusals that name the methods there are."""

import asyncio

import pytest

from tests.support.http_asks import Desk, refusal

ALL = "DELETE, GET, HEAD, OPTIONS"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.report("A10", "A16")
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/videos", "GET, HEAD, OPTIONS, POST"),
        ("/v1/videos/extensions", "OPTIONS, POST"),
        ("/v1/videos/sync", "OPTIONS, POST"),
        ("/v1/videos/check", "OPTIONS, POST"),
        ("/v1/videos/video_0", ALL),
        ("/v1/videos/video_0/", ALL),
        ("/v1/videos/video_0/remix", "OPTIONS, POST"),
        ("/v1/videos/video_0/content", "GET, HEAD, OPTIONS"),
        ("/v1/videos/video_0/hls/0.m4s", "GET, HEAD, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/stream", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/login", "OPTIONS, POST"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/app.js", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_lacks_is_refused_with_all_that_it_has(desk, path, allowed):
    for method in {"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "TRACE", "BREW"} - set(allowed.split(", ")):
        answer = desk.ask(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), method
        assert answer.content == b"" if method == "HEAD" else refusal(answer) == (405, "method_not_allowed")
    answer = desk.ask("OPTIONS", path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")


@pytest.mark.report("A10")
def test_head_has_the_headers_of_get_and_no_body(desk):
    take = desk.add(fragments=3)
    at = f"/v1/videos/{take.id}"
    paths = ["/", "/app.js", "/style.css", "/health", "/metrics", "/openapi.json", "/v1/models", "/v1/models/tiny"]
    paths += ["/v1/videos", "/v1/videos?limit=0", at, f"{at}/content", f"{at}/stream", f"{at}/preview", f"{at}/events"]
    paths += [f"{at}/previews/0", f"{at}/hls/playlist.m3u8", f"{at}/hls/1.m4s", f"{at}/hls/9.m4s", f"{at}/nothing"]
    paths += [f"{at}/content?variant=gif", "/v1/videos/video_0", "/v1/stream", "/nothing"]
    for path in paths:
        get, head = desk.get(path), desk.ask("HEAD", path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert dict(head.headers) == dict(get.headers), path


def test_the_app_starts_and_stops_with_its_server(desk):
    """As Serve asks for it: an error would end the replica."""
    messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(desk.app({"type": "lifespan", "state": {}}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_slash_at_the_end_makes_no_difference(desk):
    take = desk.add()
    for path in ("/v1/videos", f"/v1/videos/{take.id}", "/v1/models", "/openapi.json"):
        assert desk.get(f"{path}/").content == desk.get(path).content
    assert desk.ask("POST", "/v1/videos/", json={"prompt": ""}).status_code == 400
    assert refusal(desk.get("/v1//videos")) == (404, "not_found")
