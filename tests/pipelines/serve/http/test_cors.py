"""Pages of other origins."""

import pytest

from tests.support.http_asks import Desk, refusal

OURS, THEIRS = "https://app.example", "https://evil.example"
STAINLESS = "authorization,content-type,x-stainless-arch,x-stainless-retry-count,idempotency-key"


@pytest.fixture(scope="module", params=["without keys", "with keys"])
def desk(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("cors")
    (tmp_path / "keys").write_text("k" * 32)
    keys = [f"serve.keys_file={tmp_path}/keys"] if request.param == "with keys" else []
    return Desk(tmp_path, f"serve.cors_origins=[{OURS},http://b.example:3000]", *keys)


def preflight(desk, origin, method="POST", headers=STAINLESS, **more):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return desk.ask("OPTIONS", "/v1/videos", headers=asked)


@pytest.mark.report("C16")
def test_an_allowed_page_may_send_the_headers_that_it_asks_for(desk):
    for method in ("POST", "GET", "HEAD", "DELETE"):
        answer = preflight(desk, OURS, method)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, OURS)
        assert answer.headers["access-control-allow-headers"] == STAINLESS
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert int(answer.headers["access-control-max-age"]) > 0 and "Origin" in answer.headers["vary"]
    more = {"Access-Control-Request-Private-Network": "true"}
    assert preflight(desk, OURS, **more).headers["access-control-allow-private-network"] == "true"
    assert preflight(desk, OURS, headers=None).status_code == 200
    assert refusal(preflight(desk, OURS, "PUT")) == (400, "invalid_value")


@pytest.mark.report("C16")
@pytest.mark.parametrize("origin", [THEIRS, "null", "https://app.example.evil.example", "http://app.example", "*"])
def test_a_page_that_is_not_allowed_sees_no_sign_of_cors(desk, origin):
    for answer in (preflight(desk, origin), desk.get("/health", headers={"Origin": origin})):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "Origin" in answer.headers["vary"]


@pytest.mark.report("C16")
def test_an_allowed_page_reads_answers_and_refusals(desk):
    for path, status in (("/health", 503), ("/nothing", 404), ("/v1/videos/video_0", 404), ("/v1/models", 200)):
        answer = desk.get(path, headers={"Origin": OURS})
        assert answer.status_code in (status, 401) and answer.headers["access-control-allow-origin"] == OURS
        assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_without_an_origin_a_response_varies_and_names_none(desk):
    answer = desk.get("/health")
    assert "access-control-allow-origin" not in answer.headers and "Origin" in answer.headers["vary"]


def test_any_page_may_be_allowed(tmp_path):
    desk = Desk(tmp_path, "serve.cors_origins=['*']")
    assert preflight(desk, THEIRS).headers["access-control-allow-origin"] == "*"
    answer = desk.ask("POST", "/v1/videos", headers={"Origin": THEIRS}, json={"prompt": ""})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "*")
