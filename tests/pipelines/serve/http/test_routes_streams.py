"""Watching a video while it is made: every client gets the same bytes, whenever it joins."""

import asyncio
import io
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from longtake.models.video.mp4 import decode, split_head
from longtake.pipelines.serve.http.live_feed import events
from tests.support.http_kit import PROMPT, running, wait_for

pytestmark = pytest.mark.xdist_group("serve")


@pytest.fixture(scope="module")
def kit(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    with running(folder, "serve.max_streams=8", "serve.in_flight=3", seconds=0.05, fail_prompt="a raise") as kit:
        yield kit


@pytest.fixture
def client(kit):
    with kit.client() as client:
        yield client


def post(client, **fields):
    answer = client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 80, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def whole(kit, video_id):
    """All fragments, from the store."""
    paths = kit.takes.store.list(f"takes/{video_id}/fragments")
    return b"".join(kit.takes.store.get(path) for path in paths)


def pieces(client, path, seen=lambda: None, **options):
    """All that a stream gives. `seen` is called when each piece arrives."""
    with client.stream("GET", path, **options) as answer:
        assert answer.status_code == 200, answer.read()
        return b"".join((piece, seen())[0] for piece in answer.iter_raw() if piece)


def read_events(client, video_id, last_id=None, stop=None):
    """(id, kind, data) of server-sent events, up to the end or to one of kind `stop`."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    found = []
    with client.stream("GET", f"/v1/videos/{video_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return found
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = ""
        for piece in answer.iter_text():
            text += piece
            while "\n\n" in text:
                block, text = text.split("\n\n", 1)
                if not block.startswith(":"):
                    number, kind, data = re.fullmatch(r"id: (.*)\nevent: (.*)\ndata: (.*)", block).groups()
                    found.append((number, kind, json.loads(data)))
                    if kind == stop:
                        return found
    return found


def test_a_stream_begins_before_the_video_is_done_and_all_who_join_get_the_same_bytes(kit, client):
    video_id, states = post(client, num_frames=160), []
    with ThreadPoolExecutor(3) as pool:
        early = pool.submit(
            pieces, client, f"/v1/videos/{video_id}/stream", lambda: states.append(kit.takes.get(video_id).status)
        )
        wait_for(lambda: len(kit.takes.get(video_id).fragments) >= 2, 30)
        late = pool.submit(pieces, client, f"/v1/videos/{video_id}/stream")
        early, late = early.result(), late.result()
    kit.wait(client, video_id)
    expected = whole(kit, video_id)
    after = client.get(f"/v1/videos/{video_id}/stream")
    assert early == late == after.content == expected
    assert states[0] == "in_progress", "the first fragment came with the last one"
    assert len(list(decode(io.BytesIO(expected)))) == 160
    assert after.headers["content-length"] == str(len(expected))


def test_a_finished_stream_supports_ranges(kit, client):
    video_id = post(client, num_frames=40)
    kit.wait(client, video_id)
    expected = whole(kit, video_id)
    path = f"/v1/videos/{video_id}/stream"
    part = client.get(path, headers={"Range": f"bytes=100-{len(expected) - 50}"})
    assert (part.status_code, part.content) == (206, expected[100 : len(expected) - 49])
    assert client.head(path).headers["content-length"] == str(len(expected))


def test_a_client_that_has_some_fragments_gets_the_rest(kit, client):
    video_id = post(client)
    path = f"/v1/videos/{video_id}/stream"
    live = pieces(client, path, params={"from_fragment": 2})
    kit.wait(client, video_id)
    sizes = kit.takes.get(video_id).fragments
    assert live == whole(kit, video_id)[sum(sizes[:2]) :] == client.get(path, params={"from_fragment": 2}).content
    assert client.get(path, params={"from_fragment": len(sizes)}).content == b""
    assert client.get(path, params={"from_fragment": 99}).status_code == 404


def test_hls_has_the_bytes_of_the_stream(kit, client):
    video_id = post(client)
    at = f"/v1/videos/{video_id}/hls"
    first = client.get(f"{at}/playlist.m3u8")
    assert first.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert "#EXT-X-ENDLIST" not in first.text and "0.m4s" in first.text
    kit.wait(client, video_id)
    playlist = client.get(f"{at}/playlist.m3u8").text
    assert playlist.startswith(first.text.rstrip()) and playlist.endswith("#EXT-X-ENDLIST\n")
    names = [re.search(r'URI="(.*)"', playlist)[1], *re.findall(r"^\d+\.m4s$", playlist, re.M)]
    assert b"".join(client.get(f"{at}/{name}").content for name in names) == whole(kit, video_id)
    seconds = [float(one) for one in re.findall(r"#EXTINF:([\d.]+),", playlist)]
    assert sum(seconds) == pytest.approx(10) and max(seconds) <= int(re.search(r"TARGETDURATION:(\d+)", playlist)[1])
    assert client.get(f"{at}/0.m4s", headers={"Range": "bytes=4-7"}).content == b"moof"
    assert client.get(f"{at}/99.m4s").status_code == 404


def test_the_head_of_a_file_is_split_from_its_first_fragment(kit, client):
    video_id = post(client, num_frames=24)
    kit.wait(client, video_id)
    head, rest = split_head(whole(kit, video_id))
    assert (head[4:8], rest[4:8]) == (b"ftyp", b"moof")


def test_previews_run_ahead_and_are_fragments_of_one_file(kit, client):
    video_id = post(client)
    seen = read_events(client, video_id, stop="fragment")
    assert [kind for _, kind, _ in seen].index("preview") < len(seen) - 1
    first = client.get(f"/v1/videos/{video_id}/previews/0")
    assert first.content[4:8] == b"ftyp"
    live = pieces(client, f"/v1/videos/{video_id}/preview")
    kit.wait(client, video_id)
    assert client.get(f"/v1/videos/{video_id}/preview").content == live
    assert live.startswith(first.content) and len(list(decode(io.BytesIO(live)))) == 80
    assert client.get(f"/v1/videos/{video_id}/previews/99").status_code == 404


def test_all_events_come_in_order_and_can_be_resumed_after_any_of_them(kit, client):
    video_id = post(client)
    seen = read_events(client, video_id)
    kinds = [kind for _, kind, _ in seen]
    assert kinds[-1] == "completed" and {"status", "progress", "chunk", "preview", "window", "fragment"} <= set(kinds)
    fragments = [data for _, kind, data in seen if kind == "fragment"]
    assert (fragments[0]["start"], fragments[0]["stop"], fragments[-1]["stop"]) == (0, 16, 80)
    progress = [data["progress"] for _, kind, data in seen if kind == "progress"]
    assert progress == sorted(progress)
    assert len({number for number, _, _ in seen}) == len(seen)
    assert read_events(client, video_id, seen[-1][0]) == []

    again = post(client)
    first = read_events(client, again, stop="chunk")
    rest = read_events(client, again, first[-1][0])
    assert not {number for number, _, _ in rest} & {number for number, _, _ in first}
    assert [kind for _, kind, _ in rest][-1] == "completed"
    assert sum(kind == "chunk" for _, kind, _ in first + rest) == kinds.count("chunk")


def test_events_of_a_finished_video_end_it_and_those_of_another_run_start_again(kit, client):
    video_id = post(client, num_frames=1)
    kit.wait(client, video_id)
    for last_id in (None, "another-7", "no id", "another-end"):
        assert read_events(client, video_id, last_id)[-1][1] == "completed"
    failed = post(client, prompt="a raise")
    kit.wait(client, failed, "failed")
    assert read_events(client, failed)[-1][2]["code"] == "generation_failed"


def test_a_video_that_ended_meanwhile_has_its_final_event(kit, client):
    before = kit.takes.get(post(client, num_frames=16))
    kit.wait(client, before.id)

    async def told():
        return [one.event.kind async for one in events(kit.app.state.service, before)]

    assert before.is_active and asyncio.run(told()) == ["status", "completed"]


def test_silence_is_broken_by_comments(kit, client, monkeypatch):
    monkeypatch.setattr("longtake.pipelines.serve.http.live_feed.HEARTBEAT_S", 0.01)
    video_id = post(client, num_frames=24)
    text = pieces(client, f"/v1/videos/{video_id}/events").decode()
    assert ": still here\n\n" in text and text.count("event: completed") == 1


def cut(client, path):
    """The bytes of a stream that has to be cut: without its last chunk."""
    found = []
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
            found.extend(answer.iter_raw())
    return b"".join(found)


@pytest.mark.report("A8")
def test_cancelling_cuts_streams_and_what_was_made_can_still_be_played(kit, client):
    video_id = post(client, num_frames=400)
    with ThreadPoolExecutor(3) as pool:
        stream, preview = (pool.submit(cut, client, f"/v1/videos/{video_id}/{at}") for at in ("stream", "preview"))
        events = pool.submit(read_events, client, video_id)
        wait_for(lambda: kit.takes.get(video_id).fragments, 30)
        client.post(f"/v1/videos/{video_id}/cancel")
        assert events.result()[-1][1:] == ("failed", {"code": "cancelled", "message": "The video was cancelled."})
        live = stream.result()
        assert preview.result()
    again = cut(client, f"/v1/videos/{video_id}/stream")
    assert live and again.startswith(live)
    assert 0 < len(list(decode(io.BytesIO(again)))) < 400


@pytest.mark.report("A8")
def test_deleting_cuts_streams(kit, client):
    video_id = post(client, num_frames=400)
    with ThreadPoolExecutor(3) as pool:
        stream, preview = (pool.submit(cut, client, f"/v1/videos/{video_id}/{at}") for at in ("stream", "preview"))
        events = pool.submit(read_events, client, video_id)
        wait_for(lambda: kit.takes.get(video_id).fragments, 30)
        client.delete(f"/v1/videos/{video_id}")
        assert events.result()[-1][1] == "failed"
        assert stream.result() and preview.result()
    assert client.get(f"/v1/videos/{video_id}/stream").status_code == 404
    wait_for(lambda: not kit.takes.store.list(f"takes/{video_id}"), 10)


def test_a_sync_request_gets_the_video_as_it_is_made(kit, client):
    with client.stream("POST", "/v1/videos/sync", json={"prompt": PROMPT, "num_frames": 80}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
        video_id = answer.headers["longtake-video-id"]
        found = [(piece, time.monotonic()) for piece in answer.iter_raw() if piece]
    assert b"".join(piece for piece, _ in found) == whole(kit, video_id)
    assert found[0][1] < found[-1][1] - 0.1
    assert kit.wait(client, video_id)["status"] == "completed"


def test_a_sync_request_that_fails_at_once_has_the_status_of_its_error(client):
    answer = client.post("/v1/videos/sync", json={"prompt": "a raise"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "generation_failed")
    assert client.post("/v1/videos/sync", json={"prompt": ""}).status_code == 400


def running_takes(kit):
    return [take.id for take in kit.takes.all() if take.is_active]


def idle(kit):
    gauges = kit.engine.gauges()
    return not any(value for name, value in gauges.items() if name.endswith("_calls")) and not running_takes(kit)


@pytest.mark.parametrize("when", ["before the first fragment", "between fragments"])
def test_closing_a_sync_request_frees_the_actors_within_two_seconds(kit, client, when):
    wait_for(lambda: idle(kit), 30)
    before = {take.id for take in kit.takes.all()}
    left = threading.Event()

    def watch():
        with (
            kit.client() as gone,
            gone.stream("POST", "/v1/videos/sync", json={"prompt": PROMPT, "num_frames": 400}) as a,
        ):
            next(a.iter_raw())
        left.set()

    if when == "between fragments":
        watch()
    else:
        import socket

        host, port = kit.url.removeprefix("http://").split(":")
        body = json.dumps({"prompt": PROMPT, "num_frames": 400}).encode()
        with socket.create_connection((host, int(port))) as raw:
            head = f"POST /v1/videos/sync HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(lambda: running_takes(kit), 10)
    assert wait_for(lambda: idle(kit), 10) < 2
    wait_for(lambda: {take.id for take in kit.takes.all()} == before, 5)


def test_a_video_that_others_watch_goes_on_when_one_leaves(kit, client):
    video_id = post(client)
    with client.stream("GET", f"/v1/videos/{video_id}/stream") as answer:
        next(answer.iter_raw())
    assert kit.wait(client, video_id)["status"] == "completed"


def test_streams_beyond_the_limit_are_refused_until_one_ends(kit, client):
    wait_for(lambda: idle(kit), 30)
    video_id = post(client, num_frames=300)
    paths = [*["stream"] * 7, *["events"] * 4]  # events are four times cheaper
    opened = [client.send(client.build_request("GET", f"/v1/videos/{video_id}/{at}"), stream=True) for at in paths]
    assert [one.status_code for one in opened] == [200] * 11
    refused = client.get(f"/v1/videos/{video_id}/stream")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
    assert int(refused.headers["retry-after"]) >= 1
    for one in opened:
        one.close()
    wait_for(lambda: kit.app.state.service.places.num_open == 0, 5)
    client.delete(f"/v1/videos/{video_id}")


def test_the_queue_is_bounded_and_a_refusal_says_when_to_retry(kit, client):
    ids = [post(client, num_frames=300) for _ in range(3 + 16)]
    answer = client.post("/v1/videos", json={"prompt": PROMPT})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    wait_s = int(answer.headers["retry-after"])
    assert wait_s >= 1 and answer.json()["error"]["message"] == f"The queue is full (16 videos); retry in {wait_s} s."
    for video_id in ids:
        client.delete(f"/v1/videos/{video_id}")
