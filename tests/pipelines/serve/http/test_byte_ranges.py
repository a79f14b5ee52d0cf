"""Parts of a file over HTTP."""

import asyncio

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from longtake.pipelines.serve.http.byte_ranges import http_date, range_response
from longtake.pipelines.serve.http.errors import HANDLERS
from tests.support.http_asks import Desk

DATA = bytes(range(200))
ETAG = '"abc-200"'
MODIFIED = 1_800_000_000
THEN, BEFORE, LATER = (http_date(MODIFIED + seconds) for seconds in (0, -1, 1))


def ask(method="GET", **headers):
    async def read(span):
        for at in range(span.start, span.stop, 7):
            yield DATA[at : min(at + 7, span.stop)]

    async def file(request):
        return range_response(request, len(DATA), ETAG, MODIFIED, "video/mp4", read)

    async def run():
        app = Starlette(routes=[Route("/", file)], exception_handlers=HANDLERS)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as client:
            return await client.request(method, "/", headers={name.replace("_", "-"): v for name, v in headers.items()})

    return asyncio.run(run())


def test_the_whole_file_announces_support_for_ranges():
    answer = ask()
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes" and answer.headers["etag"] == ETAG
    assert answer.headers["content-length"] == "200" and answer.headers["content-type"] == "video/mp4"


@given(first=st.integers(0, 250), last=st.integers(0, 250))
def test_a_range_is_the_bytes_from_first_to_last(first, last):
    answer = ask(range=f"bytes={first}-{last}")
    if last < first:
        assert (answer.status_code, answer.content) == (200, DATA)
    elif first >= 200:
        assert answer.status_code == 416 and answer.headers["content-range"] == "bytes */200"
        assert answer.json()["error"]["code"] == "range_not_satisfiable"
    else:
        stop = min(last + 1, 200)
        assert (answer.status_code, answer.content) == (206, DATA[first:stop])
        assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/200"
        assert answer.headers["content-length"] == str(stop - first)


@pytest.mark.parametrize(
    "asked, got",
    [
        ("bytes=190-", DATA[190:]),
        ("bytes=-5", DATA[195:]),
        ("bytes=-999", DATA),
        ("bytes=0-0", DATA[:1]),
        (f"bytes=199-{10**30}", DATA[199:]),
    ],
)
def test_open_ranges_reach_to_the_end(asked, got):
    answer = ask(range=asked)
    assert (answer.status_code, answer.content) == (206, got)


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,5-9", "bytes 0-1", "", "bytes=--1"])
def test_anything_but_a_single_range_gives_the_whole_file(asked):
    assert ask(range=asked).content == DATA


def test_an_empty_file_has_no_range():
    assert ask(range="bytes=-0").status_code == 416


def test_a_range_of_a_file_that_has_changed_gives_the_whole():
    assert ask(range="bytes=0-4", if_range='"old"').status_code == 200
    assert ask(range="bytes=0-4", if_range=ETAG).status_code == 206


@pytest.mark.parametrize("known", [ETAG, f'"x", {ETAG}', f"W/{ETAG}", "*"])
def test_a_file_that_the_client_has_is_not_sent_again(known):
    answer = ask(if_none_match=known)
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)
    assert ask(if_none_match='"old"').status_code == 200


@pytest.mark.report("A16")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_match": '"nope"'}, 412),
        ({"if_match": "nope"}, 412),
        ({"if_match": f"W/{ETAG}"}, 412),  # a weak tag does not say that the bytes are equal
        ({"if_match": ETAG}, 200),
        ({"if_match": f'"x" , W/"y",{ETAG}'}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": ETAG, "if_unmodified_since": BEFORE}, 200),  # the tag decides
        ({"if_match": '"nope"', "if_unmodified_since": THEN}, 412),
        ({"if_match": '"nope"', "if_none_match": ETAG}, 412),  # it is asked first
        ({"if_match": ETAG, "if_none_match": ETAG}, 304),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": THEN}, 200),
        ({"if_unmodified_since": "yesterday"}, 200),
        ({"if_none_match": '"nope"', "if_modified_since": LATER}, 200),  # the tag decides
        ({"if_none_match": '"nope"'}, 200),
        ({"if_modified_since": THEN}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "0"}, 200),
        ({"if_match": '"nope"', "range": "bytes=0-4"}, 412),
        ({"if_none_match": ETAG, "range": "bytes=0-4"}, 304),
        ({"if_match": ETAG, "range": "bytes=0-4"}, 206),
        ({"if_unmodified_since": THEN, "range": "bytes=0-4"}, 206),
        ({"if_match": '"nope"', "range": "bytes=999-"}, 412),
        ({"if_match": ETAG, "range": "bytes=999-"}, 416),
        ({"if_range": THEN, "range": "bytes=0-4"}, 206),
        ({"if_range": BEFORE, "range": "bytes=0-4"}, 200),
        ({"if_range": f"W/{ETAG}", "range": "bytes=0-4"}, 200),
        ({"if_range": '"nope"', "range": "bytes=999-"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_asked_in_the_order_of_the_standard(method, headers, status):
    answer = ask(method, **headers)
    assert answer.status_code == status
    if status != 412 and status != 416:
        assert (answer.headers["etag"], answer.headers["last-modified"]) == (ETAG, THEN)
    if status == 412:
        assert method == "HEAD" or answer.json()["error"]["code"] == "precondition_failed"


def test_head_has_the_headers_alone():
    answer = ask("HEAD", range="bytes=3-9")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (206, b"", "7")


@pytest.mark.report("A16")
def test_every_file_of_the_endpoint_obeys_conditions(tmp_path):
    desk = Desk(tmp_path)
    at = f"/v1/videos/{desk.add(fragments=3).id}"
    parts = ("content", "stream", "preview", "previews/0", "hls/1.m4s", "hls/playlist.m3u8")
    for path in ("/", "/app.js", "/style.css", *(f"{at}/{part}" for part in parts)):
        known = desk.get(path).headers
        for headers, status in (
            ({"If-Match": '"nope"'}, 412), ({"If-Match": known["etag"]}, 200), ({"If-Match": "*"}, 200),
            ({"If-None-Match": f'W/{known["etag"]}'}, 304), ({"If-Modified-Since": known["last-modified"]}, 304),
            ({"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412), ({"Range": "bytes=0-1"}, 206),
        ):  # fmt: skip
            for method in ("GET", "HEAD"):
                assert desk.ask(method, path, headers=headers).status_code == status, (method, path, headers)
