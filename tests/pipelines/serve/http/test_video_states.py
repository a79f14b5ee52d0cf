"""The answer when a video does not have what is asked for: the same on every route, and never "not ready" forever."""

import pytest

from longtake.pipelines.serve.library.paths import path_of, preview_name
from longtake.pipelines.serve.library.takes import Status
from tests.support.http_asks import Desk, refusal

NOT_READY, FAILED, GONE, NOT_FOUND = (
    (409, "video_not_ready"), (409, "video_failed"), (404, "video_not_found"), (404, "not_found"),
)  # fmt: skip
PARTS = ("previews/0", "hls/init.mp4", "hls/0.m4s")
STREAMS = ("stream", "preview", "hls/playlist.m3u8")
FILES = ("content", "content?variant=thumbnail", "content?variant=spritesheet")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.report("A9")
@pytest.mark.parametrize("path", [*PARTS, *STREAMS, *FILES])
@pytest.mark.parametrize("code", ["cancelled", "generation_failed", "storage_failed", "interrupted"])
def test_a_video_that_ended_before_its_first_frame_has_failed(desk, path, code):
    take = desk.add(Status.FAILED)
    answer = desk.get(f"/v1/videos/{take.id}/{path}")
    assert refusal(answer) == FAILED and "retry-after" not in answer.headers
    assert "The video was cancelled." in answer.json()["error"]["message"]


@pytest.mark.report("A9")
def test_the_finished_part_of_a_failed_video_can_be_watched_and_the_rest_has_failed(desk):
    at = f"/v1/videos/{desk.add(Status.FAILED, fragments=2).id}"
    assert desk.get(f"{at}/hls/1.m4s").content == b"0001"
    end = "1.m4s\n#EXT-X-GAP\n#EXTINF:3.000000,\n2.m4s\n#EXT-X-ENDLIST\n"
    assert desk.get(f"{at}/hls/playlist.m3u8").text.endswith(end), "not as if two segments were all"
    for path in ("hls/2.m4s", "previews/3", "stream?from_fragment=2", "stream?from_fragment=3", *FILES):
        assert refusal(desk.get(f"{at}/{path}")) == FAILED, path
    for path in ("hls/3.m4s", "previews/6", "stream?from_fragment=4", "preview?from_fragment=7"):
        assert refusal(desk.get(f"{at}/{path}")) == NOT_FOUND, path


@pytest.mark.report("A8")
@pytest.mark.parametrize("path", ["stream", "preview", "stream?from_fragment=1"])
def test_the_finished_part_of_a_failed_video_does_not_look_whole(desk, path):
    """The response is cut after it. A client that has all of it is told that the rest has failed."""
    at = f"/v1/videos/{desk.add(Status.FAILED, fragments=2).id}/{path}"
    with pytest.raises(RuntimeError, match="the response has started"):
        desk.get(at)
    head = desk.ask("HEAD", at)
    assert head.status_code == 200 and "content-length" not in head.headers


@pytest.mark.report("A3")
def test_a_video_that_has_lost_a_file_is_still_there(desk):
    answer = desk.get(f"/v1/videos/{desk.add(fragments=3).id}/content?variant=thumbnail")
    assert refusal(answer) == NOT_FOUND and "no longer has its thumbnail.jpg" in answer.json()["error"]["message"]


@pytest.mark.report("A8")
@pytest.mark.parametrize("start", ["", "?from_fragment=2"])
def test_a_preview_that_has_lost_a_part_does_not_look_whole(desk, start):
    take = desk.add(fragments=3)
    desk.takes.store.delete(path_of(take.id, preview_name(4)))
    at = f"/v1/videos/{take.id}/preview"
    with pytest.raises(RuntimeError, match="the response has started"):
        desk.get(f"{at}{start}")
    head = desk.ask("HEAD", f"{at}{start}")
    assert head.status_code == 200 and "content-length" not in head.headers
    for first in (4, 5, 6):
        assert refusal(desk.get(f"{at}?from_fragment={first}")) == NOT_FOUND


@pytest.mark.report("A14")
def test_a_refusal_of_a_part_says_how_many_there_are(desk):
    answer = desk.get(f"/v1/videos/{desk.add(fragments=3).id}/stream?from_fragment=4")
    assert "has 3 fragments: there is no fragment 4" in answer.json()["error"]["message"]


@pytest.mark.report("A9")
@pytest.mark.parametrize("path", [*PARTS, *FILES])
@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
def test_what_is_not_ready_says_when_to_ask_again(desk, path, status):
    answer = desk.get(f"/v1/videos/{desk.add(status).id}/{path}")
    assert refusal(answer) == NOT_READY and int(answer.headers["retry-after"]) >= 1


@pytest.mark.report("A9", "A13")
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize(
    "path",
    [
        "hls/3.m4s",
        "hls/99999999999999999999.m4s",
        "preview?from_fragment=999999999999",
        "previews/6",
        "stream?from_fragment=4",
    ],
)
def test_a_part_that_the_video_will_never_have_does_not_exist(desk, path, status):
    assert refusal(desk.get(f"/v1/videos/{desk.add(status, fragments=1).id}/{path}")) == NOT_FOUND


@pytest.mark.parametrize("path", ["hls/-1.m4s", "hls/x.m4s", "previews/-1", "stream?from_fragment=-1"])
def test_a_number_below_0_or_none_at_all_is_refused(desk, path):
    answer = desk.get(f"/v1/videos/{desk.add(fragments=3).id}/{path}")
    assert answer.status_code in (400, 404) and set(answer.json()) == {"error"}


@pytest.mark.report("A9")
def test_a_deleted_video_is_gone_everywhere(desk):
    take = desk.add(Status.FAILED)
    desk.takes.forget(take.id)
    at = f"/v1/videos/{take.id}"
    for path in (*PARTS, *STREAMS, *FILES, "events"):
        assert refusal(desk.get(f"{at}/{path}")) == GONE, path
    assert refusal(desk.get(at)) == refusal(desk.ask("DELETE", at)) == GONE
    for path in ("cancel", "remix"):
        assert refusal(desk.ask("POST", f"{at}/{path}", json={"prompt": "a"})) == GONE
    extension = {"prompt": "a", "video": {"id": take.id}}
    assert refusal(desk.ask("POST", "/v1/videos/extensions", json=extension)) == GONE


@pytest.mark.report("A9")
@pytest.mark.parametrize(
    ("status", "expected"), [(Status.QUEUED, NOT_READY), (Status.IN_PROGRESS, NOT_READY), (Status.FAILED, FAILED)]
)
def test_only_a_finished_video_can_be_extended(desk, status, expected):
    body = {"prompt": "a", "video": {"id": desk.add(status).id}}
    answer = desk.ask("POST", "/v1/videos/extensions", json=body)
    assert refusal(answer) == expected and answer.json()["error"]["param"] == "video.id"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_a_video_that_has_ended_cannot_be_cancelled(desk, status):
    assert refusal(desk.ask("POST", f"/v1/videos/{desk.add(status).id}/cancel")) == (409, "video_finished")
