"""Shares of the places for open connections."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.serve.engine.engine import NotReady
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.stream_places import EVENTS, VIDEO, StreamPlaces
from longtake.pipelines.serve.library.takes import Status
from tests.support.http_asks import Desk, refusal

ALICE, BOB = "a" * 32, "b" * 32


def fill(places, owner, cost):
    """Takes all places that this owner gets."""
    taken = []
    with suppress(ApiError):
        while True:
            taken.append(places.take(owner, cost))
    return taken


@pytest.mark.report("A5")
def test_a_key_that_takes_all_it_can_leaves_places_for_others():
    places = StreamPlaces(64)
    assert len(fill(places, "alice", EVENTS)) == 128  # they are as dear as 32 streams of video
    assert len(fill(places, "bob", VIDEO)) == 16
    assert len(fill(places, "carol", VIDEO)) == 8
    assert places.num_open == 128 + 16 + 8


@pytest.mark.report("A5")
def test_a_refusal_says_whose_limit_it_is():
    places = StreamPlaces(2)
    first = places.take("alice", VIDEO)
    with pytest.raises(ApiError, match="This key has its share of the 2 streams of this endpoint: it has 1 conn"):
        places.take("alice", VIDEO)
    second = places.take("bob", VIDEO)
    with pytest.raises(ApiError, match="All 2 streams of this endpoint are taken; retry in 5 s"):
        places.take("carol", EVENTS)
    first.close()
    first.close()
    assert places.take("carol", EVENTS) and places.num_open == 2
    second.close()
    assert fill(StreamPlaces(1), "alice", VIDEO)


def test_without_keys_there_are_no_shares():
    assert len(fill(StreamPlaces(8), "", VIDEO)) == 8


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([VIDEO, EVENTS]), st.booleans()), max_size=80))
def test_places_are_never_lost_nor_given_twice(steps):
    places, taken = StreamPlaces(4), []
    for owner, cost, closes in steps:
        if closes and taken:
            taken.pop(0)[0].close()
        else:
            with suppress(ApiError):
                taken.append((places.take(owner, cost), cost))
        assert sum(cost for _, cost in taken) <= 4 * VIDEO and places.num_open == len(taken)
    for place, _ in taken:
        place.close()
    assert places.num_open == 0 and len(fill(places, "", VIDEO)) == 4


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "keys").write_text(f"{ALICE}\n{BOB}")
    return Desk(tmp_path, f"serve.keys_file={tmp_path}/keys", "serve.max_streams=2")


@pytest.mark.report("A4")
def test_a_sync_request_without_a_place_is_refused_before_its_video_is_queued(desk, monkeypatch):
    service = desk.app.state.service
    monkeypatch.setattr(desk.engine, "submit", lambda take: pytest.fail("it was queued"))
    fill(service.places, "someone", VIDEO)
    fill(service.places, "another", VIDEO)
    answer = desk.ask("POST", "/v1/videos/sync", key=BOB, json={"prompt": "a"})
    assert refusal(answer) == (429, "too_many_streams") and answer.headers["retry-after"] == "5"


@pytest.mark.report("A4")
def test_a_sync_request_that_is_refused_gives_its_place_back(desk, monkeypatch):
    def refuse(take):
        raise NotReady

    monkeypatch.setattr(desk.engine, "submit", refuse)
    for body in ({"prompt": ""}, {"prompt": "a"}):
        assert desk.ask("POST", "/v1/videos/sync", key=BOB, json=body).status_code in (400, 503)
    assert desk.app.state.service.places.num_open == 0


@pytest.mark.report("A5")
def test_a_key_with_its_share_of_the_queue_is_refused_before_others_are(tmp_path):
    (tmp_path / "keys").write_text(f"{ALICE}\n{BOB}")
    desk = Desk(tmp_path, f"serve.keys_file={tmp_path}/keys", "serve.in_flight=1", "serve.max_queued=2")
    service = desk.app.state.service
    alice, bob = (service.takes and desk.app.state.keys.owner(key) for key in (ALICE, BOB))

    def check(owner):
        with suppress(ApiError):
            return service._check_room(owner)
        return "refused"

    assert check(alice) is None
    desk.add(Status.QUEUED, owner=alice)
    assert check(alice) is None
    desk.add(Status.QUEUED, owner=alice)
    assert (check(alice), check(bob)) == ("refused", None)


def test_heads_take_no_place(desk):
    take = desk.add(Status.IN_PROGRESS, owner=desk.app.state.keys.owner(BOB))
    service = desk.app.state.service
    fill(service.places, "someone", VIDEO)
    fill(service.places, "another", VIDEO)
    for path in ("events", "hls/playlist.m3u8"):
        answer = desk.ask("HEAD", f"/v1/videos/{take.id}/{path}", key=BOB)
        assert answer.status_code == 200 and "content-length" not in answer.headers
        assert refusal(desk.get(f"/v1/videos/{take.id}/{path}", key=BOB)) == (429, "too_many_streams")
