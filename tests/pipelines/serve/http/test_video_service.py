"""The public form of videos."""

import pytest

from longtake.pipelines.config import loader
from longtake.pipelines.serve.library.takes import Status
from longtake.pipelines.serve.settings import load_serve
from tests.support.http_asks import Desk, refusal


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_listing_of_100_videos_builds_no_configuration(desk, monkeypatch):
    for steps in range(1, 101):
        desk.add(num_inference_steps=steps, guidance_scale=steps / 8)

    def build(*args):
        raise AssertionError("a configuration was built")

    monkeypatch.setattr(loader, "_build", build)
    videos = desk.get("/v1/videos?limit=100&order=asc").json()["data"]
    assert [video["num_inference_steps"] for video in videos] == list(range(1, 101))
    assert [video["guidance_scale"] for video in videos] == [steps / 8 for steps in range(1, 101)]


def test_a_take_without_steps_and_guidance_has_those_of_the_endpoint(desk):
    video = desk.get(f"/v1/videos/{desk.add().id}").json()
    base = load_serve().base
    assert (video["num_inference_steps"], video["guidance_scale"]) == (base.num_inference_steps, base.guidance_scale)


@pytest.mark.report("A2")
def test_a_video_has_its_place_in_the_queue(desk, monkeypatch):
    take = desk.add(Status.QUEUED)
    monkeypatch.setattr(desk.engine, "queue_position", lambda take_id: 3 if take_id == take.id else None)
    assert desk.get(f"/v1/videos/{take.id}").json()["queue_position"] == 3
    assert desk.get(f"/v1/videos/{desk.add().id}").json()["queue_position"] is None


@pytest.mark.report("A2")
@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.FAILED])
def test_a_video_that_waits_no_longer_has_no_place(desk, monkeypatch, status):
    """The places are those of the engine's last turn."""
    take = desk.add(status)
    monkeypatch.setattr(desk.engine, "queue_position", lambda take_id: 3)
    assert desk.get(f"/v1/videos/{take.id}").json()["queue_position"] is None


def test_a_check_names_unknown_words_and_queues_nothing(desk):
    before = desk.takes.all()
    prompt = [{"from_frame": 0, "prompt": "a red elephant"}, {"from_frame": 17, "prompt": "a pink elephant"},
              {"from_frame": 18, "prompt": "a circle"}]  # fmt: skip
    answer = desk.ask("POST", "/v1/videos/check", json={"prompt": prompt, "num_frames": 40, "size": "auto"}).json()
    assert answer["unknown_words"] == ["elephant", "pink"] and answer["object"] == "video.check"
    assert (answer["num_frames"], answer["seconds"], answer["size"]) == (40, "5", "128x128")
    assert answer["warnings"][0] == "The model does not know the word 'elephant'." and len(answer["warnings"]) == 3
    refused = desk.ask("POST", "/v1/videos/check", json={"prompt": "a", "num_frames": 10**6}).json()
    assert refused["error"]["param"] == "num_frames"
    assert desk.takes.all() == before


@pytest.mark.report("A17")
def test_an_empty_parameter_of_a_list_is_an_absent_one(desk):
    desk.add()
    assert desk.get("/v1/videos?after=&limit=&order=").json() == desk.get("/v1/videos").json()
    assert desk.get("/v1/videos?after").json() == desk.get("/v1/videos").json()


@pytest.mark.report("A7", "A13")
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_list_goes_on_after_a_video_that_was_deleted_meanwhile(desk, order):
    ids = [desk.add().id for _ in range(5)]
    expected = [video["id"] for video in desk.get(f"/v1/videos?order={order}&limit=100").json()["data"]]
    after = ids[2]
    rest = expected[expected.index(after) + 1 :]
    desk.takes.forget(after)
    page = desk.get(f"/v1/videos?order={order}&limit=100&after={after}").json()
    assert [video["id"] for video in page["data"]] == rest and not page["has_more"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=1e400", "limit=9" + "0" * 40,
                                   "order=up", "after=video_0", "after=%00"])  # fmt: skip
def test_other_parameters_of_a_list_are_refused_in_words(desk, query):
    error = desk.get(f"/v1/videos?{query}").json()["error"]
    assert error["param"] == query.partition("=")[0] and "Input" not in error["message"], error


@pytest.mark.report("A16")
def test_the_address_of_the_websocket_says_that_it_is_one(desk):
    answer = desk.get("/v1/stream")
    assert refusal(answer) == (426, "upgrade_required") and answer.headers["upgrade"] == "websocket"


@pytest.mark.report("C20")
def test_fields_in_a_place_where_they_do_nothing_are_named(desk):
    fields = {"prompt": "a circle", "extra_body": {"seed": 3}}
    (warning,) = desk.ask("POST", "/v1/videos/check", json=fields).json()["warnings"]
    assert warning == "extra_body is ignored: its fields belong beside prompt."
    assert not desk.ask("POST", "/v1/videos/check", json={**fields, "extra_body": {}}).json()["warnings"]
