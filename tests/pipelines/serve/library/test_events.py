"""Events of a take reach every listener, whole and in order."""

import asyncio
import threading
import time

from longtake.pipelines.serve.library.events import EventLog


async def heard(log, after=0):
    return [event async for event in log.follow(after)]


def test_who_comes_late_hears_everything_from_the_first_event_on():
    log = EventLog()
    log.append("status", status="queued")
    log.append("chunk", index=0, start=0, stop=16)
    log.append("completed")
    events = asyncio.run(heard(log))
    assert [event.kind for event in events] == ["status", "chunk", "completed"]
    assert events[1].data == {"index": 0, "start": 0, "stop": 16}
    assert [event.kind for event in asyncio.run(heard(log, 2))] == ["completed"]


def test_a_number_past_the_end_hears_nothing_and_ends():
    log = EventLog()
    log.append("failed", code="a", message="b")
    assert asyncio.run(asyncio.wait_for(heard(log, 7), 5)) == []


def test_after_the_last_event_nothing_is_told():
    for last in ("completed", "failed", "interrupted"):
        log = EventLog()
        log.append(last)
        log.append("chunk", index=1)
        assert log.ended and len(log) == 1


def test_many_listeners_in_many_loops_hear_the_same_while_a_thread_appends():
    log, results = EventLog(), []

    async def listen(number):
        await asyncio.sleep(0.002 * number)  # some come in the middle
        return [event.data.get("index") async for event in log.follow()]

    async def listen_all():
        return await asyncio.gather(*(listen(i) for i in range(20)))

    def in_a_loop():
        results.extend(asyncio.run(asyncio.wait_for(listen_all(), 30)))

    loops = [threading.Thread(target=in_a_loop) for _ in range(3)]
    for thread in loops:
        thread.start()
    for index in range(200):
        log.append("chunk", index=index)
        time.sleep(0.0005)
    log.append("completed")
    for thread in loops:
        thread.join(30)
    assert len(results) == 60 and all(result == [*range(200), None] for result in results)


def test_an_event_is_heard_at_once_and_not_at_the_next_look():
    log = EventLog()

    async def listen():
        task = asyncio.create_task(heard(log))
        await asyncio.sleep(0.05)
        threading.Thread(target=log.append, args=("completed",)).start()
        began = time.monotonic()
        await task
        return time.monotonic() - began

    assert asyncio.run(asyncio.wait_for(listen(), 10)) < 1


def test_a_listener_that_leaves_and_a_loop_that_closes_disturb_nobody():
    log = EventLog()

    async def leave():
        follower = log.follow()
        log.append("status", status="queued")
        await anext(follower)
        await follower.aclose()

    async def vanish():
        follower = log.follow()
        await anext(follower)
        return follower  # not closed: its loop ends before it

    asyncio.run(leave())
    follower = asyncio.run(vanish())
    log.append("completed")
    assert [event.kind for event in asyncio.run(heard(log))] == ["status", "completed"]
    del follower
