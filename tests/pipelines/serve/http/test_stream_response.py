"""Responses that are sent while their content is made."""

import asyncio

import pytest
from starlette.requests import Request

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.stream_places import EVENTS, StreamPlaces
from longtake.pipelines.serve.http.stream_response import LiveResponse, first_item, head_of_stream

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "asgi": {"version": "3.0", "spec_version": "2.0"}}


class Source:
    """Parts, and then an error or a wait without end; it says whether it was closed."""

    def __init__(self, *parts, then=None):
        self.parts, self.then, self.is_closed = parts, then, False

    async def __call__(self):
        try:
            for part in self.parts:
                yield part
            if self.then == "waits":
                await asyncio.Event().wait()
            if self.then == "fails":
                raise OSError("the store is away")
        finally:
            self.is_closed = True


def send_all(source, leaves=False):
    """(bytes sent, whether on_abort was called) to a client that may leave after the first byte."""
    places, aborts, sent, left = StreamPlaces(1), [], [], asyncio.Event()

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message.get("body", b""))
        if sent[-1] and leaves:
            left.set()

    async def run():
        response = LiveResponse(places.take("", EVENTS), source(), "video/mp4", on_abort=lambda: aborts.append(1))
        await response(SCOPE, receive, send)

    try:
        asyncio.run(asyncio.wait_for(run(), 5))
    finally:
        assert source.is_closed and places.num_open == 0
    return b"".join(sent), bool(aborts)


def test_a_response_that_is_complete_gives_its_place_back_and_aborts_nothing():
    assert send_all(Source(b"a", b"b")) == (b"ab", False)


def test_a_client_that_leaves_aborts_what_is_made_for_it():
    assert send_all(Source(b"a", then="waits"), leaves=True) == (b"a", True)


def test_an_error_cuts_the_connection_and_gives_the_place_back():
    with pytest.raises(BaseException):  # noqa: B017 - starlette may wrap it in a group
        send_all(Source(b"a", then="fails"))


def asked(source, leaves=False):
    async def receive():
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return asyncio.run(asyncio.wait_for(first_item(Request(SCOPE, receive), source()), 5))


def test_the_first_item_comes_before_the_response_begins():
    assert asked(Source(b"a", then="waits")) == b"a"
    assert asked(Source()) is None


def test_a_client_that_leaves_before_the_first_item_waits_for_nothing():
    source = Source(then="waits")
    with pytest.raises(ApiError) as refused:
        asked(source, leaves=True)
    assert refused.value.status == 499 and source.is_closed


def test_head_says_the_type_and_no_length():
    headers = head_of_stream("video/mp4").headers
    assert headers["content-type"] == "video/mp4" and "content-length" not in headers
