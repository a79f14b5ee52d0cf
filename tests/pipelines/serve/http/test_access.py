"""Checks before every request (keys, rates, hosts, origins, bodies), and headers on every response."""

import asyncio

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from longtake.pipelines.serve.http.access import COOKIE, AccessControl
from longtake.pipelines.serve.http.errors import HANDLERS, ApiError
from longtake.pipelines.serve.http.keys import Keys, RateLimiter, read_keys
from longtake.pipelines.serve.settings import ServeParams

KEY, OTHER = "k" * 32, "o" * 32


async def echo(request: Request):
    return JSONResponse({"owner": request.state.owner, "bytes": len(await request.body())})


async def broken(request: Request):
    raise RuntimeError("secret of /etc/longtake")


async def cut(request: Request):
    """A stream of a video that is cancelled."""

    async def body():
        yield b"begun"
        raise ApiError(409, "cancelled", "The video was cancelled.")

    return StreamingResponse(body())


async def breaks_later(request: Request):
    async def body():
        yield b"begun"
        raise RuntimeError("secret")

    return StreamingResponse(body())


def app_of(keys=(), **params):
    if keys:
        params = {"keys_file": "given", **params}
    routes = [
        Route("/v1/x", echo, methods=["GET", "POST"]),
        Route("/health", echo),
        Route("/broken", broken),
        Route("/later", breaks_later),
        Route("/cut", cut),
    ]
    access = Middleware(AccessControl, params=ServeParams(**params), keys=Keys(keys), upload_paths=("/v1/x",))
    return Starlette(routes=routes, exception_handlers=HANDLERS, middleware=[access])


def ask(app, method="GET", path="/v1/x", host="127.0.0.1", address="127.0.0.1", **options):
    async def run():
        transport = httpx2.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **options)

    return asyncio.run(run())


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def refusal(response):
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.status_code, response.json()["error"]["code"]


def test_without_keys_every_client_on_this_machine_has_access():
    assert ask(app_of()).json() == {"owner": "", "bytes": 0}


def test_with_keys_a_request_needs_a_known_one_which_names_its_owner():
    app = app_of([KEY, OTHER])
    assert refusal(ask(app)) == (401, "missing_api_key")
    assert refusal(ask(app, headers=bearer("x" * 32))) == (401, "invalid_api_key")
    assert refusal(ask(app, headers=bearer(KEY[:-1]))) == (401, "invalid_api_key")
    assert ask(app).headers["www-authenticate"] == "Bearer"
    owners = {ask(app, headers=bearer(key)).json()["owner"] for key in (KEY, OTHER)}
    assert len(owners) == 2 and all(len(owner) == 32 and KEY not in owner for owner in owners)
    assert ask(app, headers={"Cookie": f"{COOKIE}={KEY}"}).json()["owner"] in owners
    assert ask(app, path="/health").status_code == 200


@settings(max_examples=30)
@given(header=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40))
def test_no_header_replaces_a_key(header):
    app = app_of([KEY])
    assert ask(app, headers={"Authorization": header.encode("latin-1")}).status_code == 401
    assert ask(app, headers={"Cookie": header.encode("latin-1")}).status_code == 401


def test_a_file_of_keys_is_checked_line_by_line(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{KEY}  # alice\n\n{OTHER}\n")
    keys = read_keys(str(path))
    assert keys.owner(KEY) != keys.owner(OTHER) and keys.owner("# ours") is None
    for text, said in {"": "has no key", "short\n": ":1: a key has at least 16", f"{KEY}\n{'ä' * 20}": ":2:"}.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=f"serve.keys_file=.*{said}"):
            read_keys(str(path))
    path.write_bytes(f"{KEY}  # a\u2028b\r{OTHER}\n".encode("utf-8-sig"))
    assert None not in (read_keys(str(path)).owner(KEY), read_keys(str(path)).owner(OTHER))
    path.write_bytes(KEY.encode() + b"\xe4")
    with pytest.raises(ValueError, match="serve.keys_file=.*line 1 is not text in UTF-8"):
        read_keys(str(path))
    with pytest.raises(ValueError, match="serve.keys_file=.*/missing cannot be read"):
        read_keys(str(tmp_path / "missing"))


def test_the_hash_of_a_key_is_all_that_is_kept():
    assert KEY not in repr(vars(Keys([KEY])))


def test_each_key_has_its_own_rate_and_a_refusal_says_when_to_retry():
    app = app_of([KEY, OTHER], requests_per_minute=3)
    assert [ask(app, headers=bearer(KEY)).status_code for _ in range(4)] == [200, 200, 200, 429]
    late = ask(app, headers=bearer(KEY))
    assert refusal(late) == (429, "rate_limit_exceeded") and 1 <= int(late.headers["retry-after"]) <= 21
    assert ask(app, headers=bearer(OTHER)).status_code == 200
    assert [ask(app, headers=bearer("wrong")).status_code for _ in range(4)] == [401, 401, 401, 429]
    assert ask(app, headers=bearer("wrong"), address="127.0.0.2").status_code == 401


@pytest.mark.report("A12")
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP"])
def test_a_client_that_names_other_addresses_is_limited_as_one(name):
    app = app_of([KEY], requests_per_minute=3)
    value = "for={}" if name == "Forwarded" else "{}"
    asked = [ask(app, headers={**bearer("wrong"), name: value.format(f"10.0.0.{i}")}) for i in range(4)]
    assert [answer.status_code for answer in asked] == [401, 401, 401, 429]
    assert asked[-1].json()["error"]["message"] == "The limit of this address 127.0.0.1 is 3 requests per minute."


@pytest.mark.report("A12")
def test_a_trusted_proxy_is_believed_about_its_own_peer_alone():
    app = app_of([KEY], requests_per_minute=2, trusted_proxies=("127.0.0.1", "10.1.0.0/16"))

    def status(address, forwarded):
        return ask(app, address=address, headers={**bearer("wrong"), "X-Forwarded-For": forwarded}).status_code

    assert [status("127.0.0.1", f"8.8.8.{i}, 9.9.9.9, 10.1.2.3") for i in range(3)] == [401, 401, 429]
    assert [status("10.2.0.1", f"9.9.{i}.9") for i in range(3)] == [401, 401, 429]  # no proxy of ours
    assert status("127.0.0.1", "9.9.9.8") == 401


@pytest.mark.report("A12")
def test_a_limit_says_whose_it_is():
    app = app_of([KEY], requests_per_minute=1)
    ask(app, headers=bearer(KEY))
    message = ask(app, headers=bearer(KEY)).json()["error"]["message"]
    assert message == "The limit of this key is 1 requests per minute."


def test_without_keys_a_proxy_opens_no_door_to_others():
    for headers in (
        {"X-Forwarded-For": "10.0.0.7"},
        {"Forwarded": 'for="[2001:db8::1]:4711"'},
        {"X-Real-IP": "8.8.8.8"},
    ):
        assert refusal(ask(app_of(), headers=headers)) == (403, "address_not_allowed")
    for headers in ({"X-Forwarded-For": "127.0.0.1, ::1"}, {"Forwarded": "for=127.0.0.1;proto=http"}):
        assert ask(app_of(), headers=headers).status_code == 200


def test_a_bucket_fills_again_with_time_and_buckets_do_not_pile_up(monkeypatch):
    now = [0.0]
    limiter = RateLimiter(60, clock=lambda: now[0])
    assert [limiter.wait_s("a") for _ in range(60)] == [0] * 60
    assert limiter.wait_s("a") == pytest.approx(1)
    now[0] = 1.01
    assert (limiter.wait_s("a"), limiter.wait_s("a") > 0) == (0, True)
    monkeypatch.setattr("longtake.pipelines.serve.http.keys.MAX_BUCKETS", 10)
    for i in range(100):
        limiter.wait_s(str(i))
    assert len(limiter._buckets) == 10


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "127.9.9.9:1", "[::1]:8000"])
def test_loopback_names_are_served(host):
    assert ask(app_of(), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1", "localhost@evil"])
def test_without_keys_no_other_name_is_served(host):
    assert refusal(ask(app_of(), headers={"Host": host})) == (403, "host_not_allowed")
    assert ask(app_of([KEY]), headers={"Host": host, **bearer(KEY)}).status_code == 200


def test_without_keys_no_other_machine_is_served():
    assert refusal(ask(app_of(), address="10.0.0.7")) == (403, "address_not_allowed")
    assert ask(app_of([KEY]), headers=bearer(KEY), address="10.0.0.7").status_code == 200


def test_another_page_may_read_but_not_change_anything():
    theirs, ours = {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1"}
    app = app_of()
    assert ask(app, headers=theirs).status_code == 200  # a browser hides the response from the page
    assert refusal(ask(app, "POST", headers=theirs)) == (403, "origin_not_allowed")
    assert refusal(ask(app, "POST", headers={"Origin": "null"})) == (403, "origin_not_allowed")
    assert ask(app, "POST", headers=ours).status_code == 200
    for origins in (("http://evil.example",), ("*",)):
        assert ask(app_of(cors_origins=origins), "POST", headers=theirs).status_code == 200


def test_a_body_is_read_up_to_its_limit_however_it_is_sent():
    app = app_of(max_body_bytes=1000, max_upload_bytes=1000)

    async def pieces():
        for _ in range(11):
            yield b"x" * 100

    assert ask(app, "POST", content=b"x" * 1000).json()["bytes"] == 1000
    assert refusal(ask(app, "POST", content=b"x" * 1001)) == (413, "body_too_large")
    assert refusal(ask(app, "POST", content=pieces())) == (413, "body_too_large")
    assert refusal(ask(app, "POST", headers={"Content-Length": "9" * 40})) == (413, "body_too_large")


def test_an_internal_error_is_logged_and_its_cause_is_not_sent(caplog):
    answer = ask(app_of(), path="/broken")
    assert refusal(answer) == (500, "internal_error")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert "secret of /etc/longtake" in caplog.text
    assert "secret" not in ask(app_of(), path="/later").text


@pytest.mark.report("A8")
def test_a_response_that_is_cut_as_it_should_be_is_one_line(caplog):
    caplog.set_level("INFO")
    ask(app_of(), path="/cut")
    assert [(one.getMessage(), one.exc_info) for one in caplog.records if one.name.startswith("longtake")] == [
        ("response cut method=GET path=/cut code=cancelled", None)
    ]


@pytest.mark.report("A6")
def test_a_client_that_leaves_in_the_middle_of_its_body_is_one_line(caplog):
    caplog.set_level("INFO")
    messages, sent = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}], []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/x", "scheme": "http", "query_string": b"",
             "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1)}  # fmt: skip
    asyncio.run(app_of()(scope, receive, send))
    assert [(one.getMessage(), one.exc_info) for one in caplog.records if one.name.startswith("longtake")] == [
        ("client left method=POST path=/v1/x", None)
    ]
    assert not sent


def test_every_response_has_the_security_headers():
    for answer in (ask(app_of()), ask(app_of(), path="/nowhere"), ask(app_of([KEY])), ask(app_of(), path="/broken")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_unknown_routes_and_methods_have_the_form_of_all_refusals():
    assert refusal(ask(app_of(), path="/nowhere")) == (404, "not_found")
    assert refusal(ask(app_of(), "DELETE")) == (405, "method_not_allowed")


def test_the_header_that_would_hide_a_client_that_leaves_is_refused():
    assert refusal(ask(app_of(), headers={"x-request-disconnect-disabled": "?1"})) == (400, "invalid_value")


@pytest.mark.parametrize(
    ("media", "limit"),
    [("Multipart/Form-Data; boundary=b", 16000), ("multipart/json", 2000), ("multipart/a+json", 2000)],
)
def test_only_a_form_in_parts_may_have_the_length_of_a_file(media, limit):
    """All else is in memory."""
    app, headers = app_of(max_body_bytes=1000, max_upload_bytes=16000), {"Content-Type": media}
    assert ask(app, "POST", content=bytes(limit), headers=headers).json()["bytes"] == limit
    assert refusal(ask(app, "POST", content=bytes(limit + 1), headers=headers)) == (413, "body_too_large")


def test_a_body_that_is_only_announced_takes_no_place():
    """A client could hold all places with four lines."""
    app, refused = app_of([KEY], max_body_bytes=1000, max_upload_bytes=16000, max_uploads=1), []

    async def slow():
        yield b"x" * 900
        refused.append(await asyncio.to_thread(ask, app, "POST", content=bytes(2000), headers=bearer(KEY)))
        yield b"x" * 900

    headers = {**bearer(KEY), "Content-Length": "1800"}
    assert ask(app, "POST", content=slow(), headers=headers).json()["bytes"] == 1800
    assert refused[0].json()["bytes"] == 2000


def test_a_key_leaves_places_for_the_uploads_of_others():
    app, answers = app_of([KEY, OTHER], max_body_bytes=1000, max_upload_bytes=16000, max_uploads=2), []

    async def slow():
        yield b"x" * 1500
        for key in (KEY, OTHER):
            answers.append(await asyncio.to_thread(ask, app, "POST", content=bytes(1500), headers=bearer(key)))
        yield b"x"

    assert ask(app, "POST", content=slow(), headers=bearer(KEY)).status_code == 200
    assert refusal(answers[0]) == (429, "too_many_uploads") and answers[1].status_code == 200
    assert answers[0].json()["error"]["message"].startswith("This key has 1 of the 2 places for uploads, its share")
