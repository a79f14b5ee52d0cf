"""A WebSocket that makes one video: JSON messages and fragments."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.http_kit import PROMPT, running, wait_for

pytestmark = pytest.mark.xdist_group("serve")


@pytest.fixture(scope="module")
def kit(ray_cluster, tmp_path_factory):
    with running(tmp_path_factory.mktemp("socket"), seconds=0.05, fail_prompt="a raise") as kit:
        yield kit


def opened(kit, **options):
    return connect(kit.url.replace("http", "ws") + "/v1/stream", max_size=None, **options)


def start(socket, **fields):
    socket.send(json.dumps({"type": "start", "prompt": PROMPT, "num_frames": 80, **fields}))
    first = json.loads(socket.recv(30))
    assert first["type"] == "video", first
    return first["video"]


def listen(socket):
    """All messages up to the end: dictionaries and bytes."""
    found = []
    try:
        while True:
            message = socket.recv(60)
            found.append(json.loads(message) if isinstance(message, str) else message)
    except ConnectionClosed as closed:
        return found, closed.rcvd.code if closed.rcvd else None


def stored(kit, video_id):
    paths = kit.takes.store.list(f"takes/{video_id}/fragments")
    return [kit.takes.store.get(path) for path in paths]


def test_a_socket_carries_events_and_fragments_in_order(kit):
    with opened(kit) as socket:
        video = start(socket)
        messages, code = listen(socket)
    assert code == 1000 and messages[-1] == {"type": "completed"}
    places = [i for i, one in enumerate(messages) if isinstance(one, dict) and one["type"] == "fragment"]
    assert [messages[i + 1] for i in places] == stored(kit, video["id"])
    assert [messages[i]["bytes"] for i in places] == [len(messages[i + 1]) for i in places]
    assert {"progress", "chunk", "window"} <= {one["type"] for one in messages if isinstance(one, dict)}


def test_a_prompt_change_takes_effect_at_the_next_chunk_and_can_be_made_again(kit):
    with opened(kit) as socket:
        video = start(socket, seed=3)
        while json.loads(socket.recv(30))["type"] != "chunk":
            pass
        socket.send(json.dumps({"type": "prompt", "prompt": "a circle"}))
        messages, _ = listen(socket)
    (changed,) = [one for one in messages if isinstance(one, dict) and one["type"] == "prompt"]
    assert changed["prompt"] == "a circle" and changed["from_frame"] % 8 == 0 and changed["from_frame"] >= 16
    with kit.client() as client:
        now = client.get(f"/v1/videos/{video['id']}").json()
    assert now["prompts"][1] == {"from_frame": changed["from_frame"], "prompt": "a circle"}


def test_invalid_messages_are_answered_with_errors_and_change_nothing(kit):
    with opened(kit) as socket:
        start(socket)
        for message in ("{", "[]", '{"type": "x"}', '{"type": "prompt"}', '{"type": "prompt", "prompt": ""}', b"bytes"):
            socket.send(message)
        messages, code = listen(socket)
    errors = [one["error"] for one in messages if isinstance(one, dict) and one["type"] == "error"]
    assert len(errors) == 6 and all(set(one) == {"message", "type", "param", "code"} for one in errors)
    assert code == 1000 and messages[-1] == {"type": "completed"}


@pytest.mark.parametrize(
    "first, param",
    [("{", None), ("[1]", None), ('{"type": "go"}', "type"), ('{"type": "start"}', "prompt"),
     ('{"type": "start", "prompt": "a", "x": 1}', "x"),
     ('{"type": "start", "prompt": "a", "num_frames": 0}', "num_frames")],
)  # fmt: skip
def test_an_invalid_first_message_is_answered_with_an_error_and_the_socket_closed(kit, first, param):
    with opened(kit) as socket:
        socket.send(first)
        messages, code = listen(socket)
    assert messages[0]["type"] == "error" and messages[0]["error"]["param"] == param and code == 1008


def test_a_message_that_is_too_large_is_refused(kit):
    with opened(kit) as socket:
        socket.send("x" * 70000)
        messages, code = listen(socket)
    assert messages[0]["error"]["code"] == "body_too_large" and code == 1008


def test_cancelling_ends_it_in_order(kit):
    with opened(kit) as socket:
        video = start(socket, num_frames=400)
        socket.send(json.dumps({"type": "cancel"}))
        messages, code = listen(socket)
    assert messages[-1]["code"] == "cancelled" and code == 1000
    with kit.client() as client:
        assert client.get(f"/v1/videos/{video['id']}").json()["error"]["code"] == "cancelled"


def test_a_stage_that_raises_is_reported(kit):
    with opened(kit) as socket:
        start(socket, prompt="a raise")
        messages, code = listen(socket)
    assert messages[-1]["type"] == "failed" and messages[-1]["code"] == "generation_failed"
    assert code == 1011, "not as if all were well"


def seconds_until_free(kit) -> float:
    """From the end of a socket until its video is gone and no actor works."""
    with opened(kit) as socket:
        video = start(socket, num_frames=400)
        while json.loads(socket.recv(30))["type"] != "chunk":
            pass
    started = time.monotonic()
    wait_for(lambda: all(take.id != video["id"] for take in kit.takes.all()), 20)
    wait_for(lambda: not any(v for name, v in kit.engine.gauges().items() if name.endswith("_calls")), 20)
    return time.monotonic() - started


def test_closing_the_socket_ends_its_video_and_frees_the_actors(kit):
    seconds_until_free(kit)


@pytest.mark.chaos  # beside two other processes of tests, a tenth of a second becomes two
def test_closing_the_socket_frees_the_actors_within_two_seconds(kit):
    assert seconds_until_free(kit) < 2


def test_a_page_from_elsewhere_cannot_open_a_socket(kit):
    with pytest.raises(InvalidStatus) as refused:
        opened(kit, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["error"]["code"] == "origin_not_allowed"
    with opened(kit, origin=kit.url) as socket:
        socket.send("{")
        assert listen(socket)[1] == 1008
