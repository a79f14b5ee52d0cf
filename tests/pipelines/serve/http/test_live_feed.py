"""Events after the one that a client had last."""

import asyncio

import pytest

from longtake.pipelines.serve.http.live_feed import events
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.takes import Status
from tests.support.http_asks import Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("feed"))


def told(desk, take, last_id=""):
    """(ids, kinds) of the events after `last_id`, to the end."""

    async def read():
        return [(one.id, one.event.kind) async for one in events(desk.app.state.service, take, last_id)]

    found = asyncio.run(read())
    return [number for number, _ in found], [kind for _, kind in found]


def in_progress(desk):
    """A take whose log has four events, the last one final; the library does not know yet that it has ended."""
    take = desk.add(Status.IN_PROGRESS)
    log = desk.engine._results.logs[take.id] = EventLog()
    for kind in ("status", "chunk", "fragment", "completed"):
        log.append(kind)
    return take


ALL = ["status", "chunk", "fragment", "completed"]


@pytest.mark.report("A13")
def test_a_client_continues_after_any_event_of_the_video(desk):
    take = in_progress(desk)
    ids, kinds = told(desk, take)
    assert kinds == ALL and len(set(ids)) == 4
    for place, last_id in enumerate(ids, 1):
        assert told(desk, take, last_id)[1] == ALL[place:]


@pytest.mark.report("A13")
def test_an_id_of_no_event_of_this_video_begins_from_the_first(desk):
    take, other = in_progress(desk), in_progress(desk)
    start = told(desk, take)[0][0].removesuffix("-1")
    others = [*told(desk, other)[0]]  # of another video, its last one too
    numbers = ["5", "99999999", "999999999", "9" * 40, "-1", "", "x", "1.0", "²", "٣", "+1", " 1", "0x1"]
    wrong = [f"{start}-{number}" for number in numbers]
    for last_id in [*others, *wrong, "1", "-1", "end", "-end", "another-end", f"{start}-end-", "\x00", "-", "--"]:
        assert told(desk, take, last_id)[1] == ALL, last_id
    assert told(desk, take, f"{start}-0")[1] == ALL


@pytest.mark.report("A13")
def test_a_video_that_has_ended_says_so_whatever_the_client_had_last(desk):
    take = desk.add()
    start = told(desk, take)[0][0].removesuffix("-0")
    for last_id in ("", f"{start}-3", f"{start}-99999999", "another-7", "no id"):
        assert told(desk, take, last_id)[1] == ["status", "completed"]
    assert desk.get(f"/v1/videos/{take.id}/events", headers={"Last-Event-ID": f"{start}-end"}).status_code == 204
    answer = desk.get(f"/v1/videos/{desk.add().id}/events", headers={"Last-Event-ID": f"{start}-end"})
    assert answer.status_code == 200 and "event: completed" in answer.text
