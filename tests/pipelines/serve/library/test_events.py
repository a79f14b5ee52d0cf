"""Events of a take reach every listener, whole and in order."""

import asyncio
import threading
import time

from longtake.pipelines.serve.library.events import Live


async def heard(live, after=0):
    return [event async for event in live.follow(after)]


def test_who_comes_late_hears_everything_from_the_first_event_on():
    live = Live()
    live.append("status", status="queued")
    live.append("chunk", index=0, start=0, stop=16)
    live.append("completed")
    events = asyncio.run(heard(live))
    assert [event.kind for event in events] == ["status", "chunk", "completed"]
    assert events[1].data == {"index": 0, "start": 0, "stop": 16}
    assert [event.kind for event in asyncio.run(heard(live, 2))] == ["completed"]


def test_a_number_past_the_end_hears_nothing_and_ends():
    live = Live()
    live.append("failed", code="a", message="b")
    assert asyncio.run(asyncio.wait_for(heard(live, 7), 5)) == []


def test_after_the_last_event_nothing_is_told():
    for last in ("completed", "failed", "interrupted"):
        live = Live()
        live.append(last)
        live.append("chunk", index=1)
        assert live.ended and len(live) == 1


def test_many_listeners_in_many_loops_hear_the_same_while_a_thread_appends():
    live, results = Live(), []

    async def listen(number):
        await asyncio.sleep(0.002 * number)  # some come in the middle
        return [event.data.get("index") async for event in live.follow()]

    async def listen_all():
        return await asyncio.gather(*(listen(i) for i in range(20)))

    def in_a_loop():
        results.extend(asyncio.run(asyncio.wait_for(listen_all(), 30)))

    loops = [threading.Thread(target=in_a_loop) for _ in range(3)]
    for thread in loops:
        thread.start()
    for index in range(200):
        live.append("chunk", index=index)
        time.sleep(0.0005)
    live.append("completed")
    for thread in loops:
        thread.join(30)
    assert len(results) == 60 and all(result == [*range(200), None] for result in results)


def test_an_event_is_heard_at_once_and_not_at_the_next_look():
    live = Live()

    async def listen():
        task = asyncio.create_task(heard(live))
        await asyncio.sleep(0.05)
        threading.Thread(target=live.append, args=("completed",)).start()
        began = time.monotonic()
        await task
        return time.monotonic() - began

    assert asyncio.run(asyncio.wait_for(listen(), 10)) < 1


def test_a_listener_that_leaves_and_a_loop_that_closes_disturb_nobody():
    live = Live()

    async def leave():
        follower = live.follow()
        live.append("status", status="queued")
        await anext(follower)
        await follower.aclose()

    async def vanish():
        follower = live.follow()
        await anext(follower)
        return follower  # not closed: its loop ends before it

    asyncio.run(leave())
    follower = asyncio.run(vanish())
    live.append("completed")
    assert [event.kind for event in asyncio.run(heard(live))] == ["status", "completed"]
    del follower
