"""ChunkQueue: bounded, in order, and it forgets."""

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.chunk_queue import ChunkQueue
from longtake.models.domain.plan import Plan, PlanParams
from tests.models.domain.test_plan import NUM_FRAMES, plan_params


class Handle:
    """Stands for a chunk somewhere else; can be watched."""


def smallest_lookahead(plan: Plan) -> int:
    """Frames of the chunks under the window that has most of them."""
    return max(sum(len(plan.chunks[i]) for i in plan.chunks_of(k)) for k in range(len(plan.windows)))


@given(NUM_FRAMES, plan_params(), st.integers(0, 60), st.randoms(use_true_random=False))
def test_any_mix_of_puts_and_takes_gives_every_window_its_chunks_within_the_bound(num_frames, params, spare, rng):
    plan = Plan(num_frames, params)
    lookahead_frames = smallest_lookahead(plan) + spare
    queue = ChunkQueue(plan, lookahead_frames)
    watched: dict[int, weakref.ref[Handle]] = {}
    for window in range(len(plan.windows)):
        while not queue.complete(window) or (not queue.full and rng.random() < 0.5):
            assert not queue.full, "it is full, and still the next window is not complete"
            chunk = queue.next_chunk
            watched[chunk] = put(queue)
            assert queue.num_frames <= lookahead_frames
        taken = queue.take(window)
        assert taken == tuple(watched[chunk]() for chunk in plan.chunks_of(window))
        del taken
        later = {chunk for k in range(window + 1, len(plan.windows)) for chunk in plan.chunks_of(k)}
        assert {chunk for chunk, handle in watched.items() if handle() is not None} == later & set(watched)
    assert queue.next_chunk == len(plan.chunks) and queue.full and queue.num_frames == 0


@given(NUM_FRAMES, plan_params(), st.integers(0, 60), st.data())
def test_from_a_later_window_on_it_gives_every_window_its_chunks_within_the_bound(num_frames, params, spare, data):
    plan = Plan(num_frames, params)
    first = data.draw(st.integers(0, len(plan.windows) - 1))
    lookahead_frames = smallest_lookahead(plan) + spare
    queue = ChunkQueue(plan, lookahead_frames, first)
    assert (queue.next_window, queue.next_chunk) == (first, plan.chunks_of(first)[0])
    for window in range(first, len(plan.windows)):
        while not queue.full:
            queue.put(queue.next_chunk, queue.next_chunk)
        assert queue.num_frames <= lookahead_frames
        assert queue.take(window) == tuple(plan.chunks_of(window))
    assert queue.num_frames == 0


@given(NUM_FRAMES, plan_params())
def test_a_queue_that_could_never_hold_a_window_is_refused(num_frames, params):
    plan = Plan(num_frames, params)
    too_small = smallest_lookahead(plan) - 1
    with pytest.raises(ValueError, match=f"lookahead_frames={too_small} .* have {too_small + 1} frames"):
        ChunkQueue(plan, too_small)


def test_it_is_full_when_the_next_chunk_would_pass_the_bound():
    queue = ChunkQueue(Plan(80, PlanParams()), lookahead_frames=47)
    for _ in range(4):  # 16 + 8 + 8 + 8 = 40 frames; the next would make 48
        assert not queue.full
        put(queue)
    assert queue.full
    queue.take(0)  # chunk 0 goes; chunk 1 belongs to window 1 as well
    assert queue.num_frames == 24 and not queue.full


def test_chunks_and_windows_come_in_order_once_and_never_too_early():
    queue = ChunkQueue(Plan(80, PlanParams()), lookahead_frames=48)
    with pytest.raises(AssertionError, match="chunk 1"):
        queue.put(1, Handle())
    put(queue)
    with pytest.raises(AssertionError, match="window 0"):
        queue.take(0)
    put(queue)
    queue.take(0)
    with pytest.raises(AssertionError, match="window 0"):
        queue.take(0)
    while not queue.full:
        put(queue)
    with pytest.raises(AssertionError, match="out of turn"):
        put(queue)


def put(queue: ChunkQueue) -> "weakref.ref[Handle]":
    handle = Handle()
    queue.put(queue.next_chunk, handle)
    return weakref.ref(handle)
