"""The engine on toy stages and a real Ray: its output, and its behavior when things are stopped, lost or broken."""

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import ray

from longtake.models.domain.checks import FieldError
from longtake.models.domain.prompt import Cue
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.mp4 import decode
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.engine.engine import Engine, NoSuchTake, NotReady, QueueFull
from longtake.pipelines.serve.library.paths import chunk_name, folder, fragment_name
from longtake.pipelines.serve.library.takes import Status, Takes, extended, write_take
from tests.support.engine_driver import conf_of, local_bytes, started, take_of
from tests.support.engine_toys import linked
from tests.support.places import ROOT

pytestmark = pytest.mark.xdist_group("serve")
PATIENCE_S = 60.0


def until(true, what="", patience_s=PATIENCE_S):
    """Waits until `true()`; returns the seconds it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < patience_s, f"waited too long: {what}"
        time.sleep(0.01)
    return time.monotonic() - began


def path_of(takes, take, name=""):
    return takes.store.local_path / folder(take.id) / name


def finished(takes, take):
    """The take, after its end."""
    until(lambda: not takes.get(take.id).is_active, f"{takes.get(take.id)}")
    return takes.get(take.id)


def made(takes, take):
    """(fragments joined, plain file) on disk."""
    fragments = sorted(path_of(takes, take, "fragments").iterdir())
    return b"".join(one.read_bytes() for one in fragments), path_of(takes, take, "video.mp4").read_bytes()


def num_fragments(takes, take):
    return len(list(path_of(takes, take).glob("fragments/*.mp4")))


def calls_of(log, stage, take_id):
    """Indices of the chunks, or windows, that were made."""
    lines = (line.split() for line in log.read_text().splitlines())
    return [int(index) for name, video_id, index in lines if (name, video_id) == (stage, take_id)]


@contextmanager
def running(folder, *overrides, **how):
    """(engine, takes); the engine is closed at once at the end."""
    engine, takes = started(conf_of(folder, *overrides), **how)
    try:
        yield engine, takes
    finally:
        engine.close(0)


@pytest.fixture(scope="module")
def shared(ray_cluster, tmp_path_factory):
    """A quick engine for tests without special needs; it logs its calls in `log` in its folder."""
    folder = tmp_path_factory.mktemp("shared")
    overrides = ("ray.refiner.num_actors=2", "ray.writer.num_actors=2")
    with running(folder, *overrides, log=str(folder / "log")) as both:
        yield both


@pytest.fixture(scope="module")
def slow(ray_cluster, tmp_path_factory):
    """An engine whose every call takes 50 ms; two takes at once."""
    with running(tmp_path_factory.mktemp("slow"), "ray.refiner.num_actors=2", seconds=0.05) as both:
        yield both


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize("num_frames", [1, 24, 56])
def test_files_are_those_of_the_local_runner_byte_for_byte(shared, coupling, num_frames):
    engine, takes = shared
    take = finished(takes, engine.submit(take_of(num_frames, coupling=coupling)))
    assert take.status is Status.COMPLETED and take.progress == 100 and take.error is None
    assert made(takes, take) == local_bytes(take)
    for name in ("thumbnail.jpg", "spritesheet.jpg"):
        assert path_of(takes, take, name).read_bytes().startswith(b"\xff\xd8")
    previews = b"".join(one.read_bytes() for one in sorted(path_of(takes, take, "previews").iterdir()))
    assert len(list(decode(io.BytesIO(previews)))) == num_frames
    assert take.size_bytes == sum(one.stat().st_size for one in path_of(takes, take).glob("**/*.*")) - (
        path_of(takes, take, "take.json").stat().st_size
    )
    assert json.loads(path_of(takes, take, "take.json").read_text())["status"] == "completed"
    assert take.expires_at - take.completed_at == 86400


@pytest.mark.parametrize("coupling", Coupling)
def test_who_follows_hears_of_every_piece_in_order_when_it_can_be_fetched(shared, coupling):
    engine, takes = shared
    take = engine.submit(take_of(coupling=coupling))

    async def follow():
        seen = []
        async for event in engine.live(take.id).follow():
            seen.append(event)
            if event.kind in ("fragment", "preview"):
                size = path_of(takes, take, f"{event.kind}s/{event.data['index']:06}.mp4").stat().st_size
                assert size == event.data.get("bytes", size) > 0
        return seen

    events = asyncio.run(asyncio.wait_for(follow(), PATIENCE_S))
    by_kind = {}
    for event in events:
        by_kind.setdefault(event.kind, []).append(event.data)
    assert [one["status"] for one in by_kind["status"]] == ["queued", "in_progress", "completed"]
    spans = [(one["index"], one["start"], one["stop"]) for one in by_kind["fragment"]]
    assert spans == [(0, 0, 16), (1, 16, 32), (2, 32, 56)]
    assert [one["index"] for one in by_kind["chunk"]] == [one["index"] for one in by_kind["preview"]] == [*range(6)]
    for window in range(3):
        assert [one["step"] for one in by_kind["window"] if one["index"] == window] == [1, 2, 3, 4]
    percents = [one["progress"] for one in by_kind["progress"]]
    assert percents == sorted(percents) and percents[0] == 0 and percents[-1] == 99
    last = by_kind["progress"][-1]
    assert all(last[part]["done"] == last[part]["total"] for part in ("generate", "refine", "segments"))
    assert events[-1].kind == "completed" and engine.live(take.id) is None


def test_a_prompt_schedule_is_in_the_frames(shared):
    engine, takes = shared
    take = finished(takes, engine.submit(take_of(cues=(Cue(20, "a blue square"),))))
    assert made(takes, take) == local_bytes(take) != local_bytes(replace(take, cues=()))


def test_two_are_made_at_once_and_the_others_in_the_order_in_which_they_came(slow):
    engine, takes = slow
    asked = [engine.submit(take_of(40, seed=seed)) for seed in range(5)]
    most = 0
    while any(takes.get(take.id).is_active for take in asked):
        running = [i for i, take in enumerate(asked) if takes.get(take.id).status is Status.IN_PROGRESS]
        waiting = [i for i, take in enumerate(asked) if takes.get(take.id).status is Status.QUEUED]
        assert max(running, default=0) < min(waiting, default=5)
        most = max(most, len(running))
        time.sleep(0.005)
    assert most == 2
    for take in asked:
        assert made(takes, take) == local_bytes(take)
        for kind in ("fragments/*.mp4", "previews/*.mp4"):
            times = [one.stat().st_mtime_ns for one in sorted(path_of(takes, take).glob(kind))]
            assert times == sorted(times)


def test_one_more_than_may_wait_is_refused_with_a_time(ray_cluster, tmp_path):
    with running(tmp_path, "serve.in_flight=1", "serve.max_queued=1", seconds=0.1) as (engine, takes):
        first, second = engine.submit(take_of()), engine.submit(take_of())
        with pytest.raises(QueueFull) as refused:
            engine.submit(take_of())
        assert refused.value.retry_after_s >= 1 and len(takes.all()) == 2
        until(lambda: engine.gauges()["running"] == 1)
        assert engine.gauges()["queued"] == 1
        engine.cancel(first.id)
        engine.submit(take_of())
        assert takes.get(second.id).is_active


@pytest.mark.parametrize("coupling", Coupling)
def test_cancelling_frees_the_actors_within_two_seconds_and_leaves_what_is_made(slow, coupling):
    engine, takes = slow
    take = engine.submit(take_of(400, coupling=coupling))
    live = engine.live(take.id)
    until(lambda: len(list(path_of(takes, take).glob("previews/*.mp4"))) >= 3, "previews")
    if coupling is Coupling.CAUSAL:
        until(lambda: takes.get(take.id).fragments, "a fragment")
    until(lambda: engine.gauges()["refiner_calls"] > 0)
    ended = engine.cancel(take.id)
    assert (ended.status, ended.error[0]) == (Status.FAILED, "cancelled") and ended.progress < 100

    def is_free():
        gauges = engine.gauges()
        return not any(gauges[name] for name in ("running", "base_calls", "refiner_calls", "waiting_frames"))

    assert until(is_free) < 2
    assert live.ended and engine.live(take.id) is None
    fragments = [path_of(takes, take, fragment_name(i)).read_bytes() for i in range(len(ended.fragments))]
    assert [len(one) for one in fragments] == list(ended.fragments)
    assert local_bytes(take)[0].startswith(b"".join(fragments))
    assert engine.cancel(take.id) == ended  # it has ended: nothing happens
    assert finished(takes, engine.submit(take_of(24))).status is Status.COMPLETED


REBUILD_S = 20.0  # of a toy actor, on a busy machine


@pytest.fixture(scope="module")
def hanging(ray_cluster, tmp_path_factory):
    """An engine whose calls hang if the prompt is `hang`; two takes at once, one base actor."""
    overrides = ("ray.refiner.num_actors=2", "serve.cancel_grace_s=0.5")
    with running(tmp_path_factory.mktemp("hanging"), *overrides, hang_prompt="hang") as both:
        yield both


@pytest.mark.report("A1", "A2")
def test_those_behind_a_call_without_end_are_queued_and_go_on_soon_after_it_is_cancelled(hanging):
    engine, takes = hanging
    hangs, second, third = (engine.submit(take_of(24, prompt)) for prompt in ("hang", "a circle", "a star"))
    until(lambda: takes.get(hangs.id).status is Status.IN_PROGRESS)
    time.sleep(0.3)
    assert takes.get(second.id).status is takes.get(third.id).status is Status.QUEUED
    assert takes.get(second.id).started_at is None
    assert [engine.queue_position(take.id) for take in (hangs, second, third)] == [None, 1, 2]
    assert (engine.gauges()["running"], engine.gauges()["queued"]) == (1, 2)
    engine.cancel(third.id)
    assert engine.queue_position(third.id) is None, "at once"
    third = engine.submit(take_of(24, "a star"))
    live = engine.live(third.id)
    engine.delete(hangs.id)  # which cancels it first
    assert until(lambda: takes.get(second.id).status is not Status.QUEUED) < 0.5 + REBUILD_S
    for take in (second, third):
        assert made(takes, finished(takes, take)) == local_bytes(take)
        assert engine.queue_position(take.id) is None

    async def follow():
        return [event.data["position"] async for event in live.follow() if event.kind == "queue"]

    assert asyncio.run(asyncio.wait_for(follow(), 5)) == [2, 1]


@pytest.mark.report("A1")
def test_many_calls_that_are_cancelled_at_once_cost_their_actors_and_nothing_else(ray_cluster, tmp_path):
    overrides = ("ray.base.num_actors=3", "serve.in_flight=4", "serve.cancel_grace_s=0.5")
    with running(tmp_path, *overrides, hang_prompt="hang", seconds=0.05) as (engine, takes):
        hang = [engine.submit(take_of(24, "hang")) for _ in range(2)]
        until(lambda: engine.gauges()["base_calls"] == 2)
        works = engine.submit(take_of(56))
        for take in hang:
            engine.cancel(take.id)
        assert made(takes, finished(takes, works)) == local_bytes(works)
        pool = engine._runner._pools["base"]
        until(lambda: not pool.proofs and pool.num_idle == 3, "the actors return")
        engine.cancel(engine.submit(take_of(24, "hang")).id)
        engine.submit(take_of(24, "hang"))
        until(lambda: engine.gauges()["base_calls"] > 0)
        began = time.monotonic()
    assert time.monotonic() - began < 5, "closing does not wait for calls that hang"


@pytest.mark.report("A1")
def test_a_cancelled_call_that_ends_in_time_costs_nothing(slow, caplog):
    engine, _ = slow
    for _ in range(3):
        take = engine.submit(take_of(40))
        until(lambda: engine.gauges()["base_calls"] > 0)
        engine.cancel(take.id)
    until(lambda: engine.gauges()["base_calls"] == 0)
    assert not any(pool.proofs for pool in engine._runner._pools.values())
    assert "no longer needs it" not in caplog.text


def test_deleting_removes_all_of_it_though_writers_are_at_work(slow):
    engine, takes = slow
    asked = [engine.submit(take_of(400)) for _ in range(3)]
    until(lambda: path_of(takes, asked[0], chunk_name(2)).exists(), "chunks")
    for take in asked:
        engine.delete(take.id)
        for ask in (takes.get, engine.delete, engine.cancel):
            with pytest.raises(NoSuchTake):
                ask(take.id)
    assert until(lambda: not any(path_of(takes, take).exists() for take in asked)) < 2
    assert engine.gauges()["running"] == engine.gauges()["queued"] == 0
    time.sleep(0.5)
    assert not any(path_of(takes, take).exists() for take in asked), "a late write brought it back"


def test_a_prompt_that_is_changed_on_the_way_is_a_cue_from_the_first_chunk_not_begun(slow):
    engine, takes = slow
    take = engine.submit(take_of(160))
    until(lambda: path_of(takes, take, chunk_name(3)).exists(), "chunks")
    frame = engine.change_prompt(take.id, "a blue square")
    assert frame >= 40 and frame % 8 == 0
    with pytest.raises(ValueError, match="empty or blank"):
        engine.change_prompt(take.id, " ")
    ended = finished(takes, take)
    assert ended.cues == (Cue(frame, "a blue square"),)
    assert made(takes, take) == local_bytes(replace(take, cues=ended.cues)) != local_bytes(take)
    with pytest.raises(FieldError, match="^prompt='a red circle': too late"):
        engine.change_prompt(take.id, "a red circle")


def test_the_prompt_of_one_that_waits_is_replaced(slow):
    engine, takes = slow
    first = [engine.submit(take_of(56)) for _ in range(2)]
    waits = engine.submit(take_of(24, cues=(Cue(16, "a star"),)))
    assert engine.change_prompt(waits.id, "a green circle") == 0
    assert json.loads(path_of(takes, waits, "take.json").read_text())["prompt"] == "a green circle"
    ended = finished(takes, waits)
    assert (ended.prompt, ended.cues) == ("a green circle", (Cue(16, "a star"),))
    assert made(takes, waits) == local_bytes(ended)
    assert all(finished(takes, take).prompt == take.prompt for take in first)


def test_a_writer_that_is_killed_costs_the_call(slow):
    engine, takes = slow
    take = engine.submit(take_of(120))
    until(lambda: path_of(takes, take, chunk_name(1)).exists())
    ray.kill(engine._runner._writer.actors[0], no_restart=False)
    assert finished(takes, take).error is None
    assert made(takes, take) == local_bytes(take)


def test_an_extension_of_what_is_gone_is_made_from_the_start(slow):
    engine, takes = slow
    source = finished(takes, engine.submit(take_of(40)))
    for _ in range(2):
        engine.submit(take_of(40))
    take = engine.submit(extended(source, "a blue square", 16, 1000))
    engine.delete(source.id)
    ended = finished(takes, take)
    assert made(takes, take) == local_bytes(ended)


@pytest.fixture(scope="module")
def stopped(ray_cluster, tmp_path_factory):
    """(folder, takes by their coupling) of an engine that was closed at once, in the middle of one of each."""
    folder = tmp_path_factory.mktemp("stopped")
    asked = {coupling: take_of(200, coupling=coupling) for coupling in (Coupling.CAUSAL, Coupling.SYMMETRIC)}
    with running(folder, "ray.refiner.num_actors=2", seconds=0.05) as (engine, takes):
        for take in asked.values():
            engine.submit(take)
        until(lambda: num_fragments(takes, asked[Coupling.CAUSAL]) >= 3, "fragments")
        until(lambda: path_of(takes, asked[Coupling.SYMMETRIC], chunk_name(4)).exists(), "chunks")
    for take in asked.values():
        assert takes.get(take.id).is_active
        assert json.loads(path_of(takes, take, "take.json").read_text())["status"] == "in_progress"
    return folder, asked


@pytest.fixture
def stopped_copy(stopped, tmp_path):
    shutil.copytree(stopped[0], tmp_path, dirs_exist_ok=True)
    return tmp_path, stopped[1]


def test_takes_go_on_where_they_were_and_nothing_that_is_finished_is_made_again(stopped_copy):
    """Causal ones at the first window that is not final, symmetric ones from their chunks; through one writer."""
    where, asked = stopped_copy
    causal, symmetric = (where / folder(asked[coupling].id) for coupling in (Coupling.CAUSAL, Coupling.SYMMETRIC))
    before = {one: one.stat().st_mtime_ns for one in causal.glob("fragments/*.mp4")}
    kept = min(len(list(one.glob("chunks/*.npz"))) for one in (causal, symmetric))
    assert len(before) >= 3 and kept >= 5
    log = where / "log"
    with running(where, log=str(log), fail_before=kept) as (engine, takes):  # it refuses to make these chunks again

        async def follow():
            return [event async for event in engine.live(causal.name).follow()]

        events = asyncio.run(asyncio.wait_for(follow(), PATIENCE_S))
        for take in asked.values():
            assert finished(takes, take).error is None
            assert made(takes, take) == local_bytes(take)
    assert {one: one.stat().st_mtime_ns for one in before} == before
    assert min(calls_of(log, "refiner", causal.name)) >= len(before)
    assert [event.data["index"] for event in events if event.kind == "fragment"] == [*range(12)]
    assert [event.data["index"] for event in events if event.kind == "preview"] == [*range(24)]
    percents = [event.data["progress"] for event in events if event.kind == "progress"]
    assert percents == sorted(percents) and percents[0] > 10


def test_how_far_a_take_is_can_be_asked_before_any_actor_is_built(stopped_copy):
    where, asked = stopped_copy
    takes = Takes(Store(where))
    engine = Engine(conf_of(where), takes, linked(broken="it is never built"))
    engine.start()
    until(lambda: engine.state == "failed")
    for take in asked.values():
        found = takes.get(take.id)
        assert list(found.fragments) == [
            path_of(takes, take, fragment_name(i)).stat().st_size for i in range(num_fragments(takes, take))
        ]
        assert 0 < found.progress < 99 and found.is_active
    assert takes.get(asked[Coupling.CAUSAL].id).fragments


def test_what_cannot_be_read_any_more_is_made_again(stopped_copy):
    where, asked = stopped_copy
    for coupling, what in (
        (Coupling.CAUSAL, "boundaries/*.npz"),
        *((coupling, "chunks/*.npz") for coupling in Coupling),
    ):
        broken = sorted((where / folder(asked[coupling].id)).glob(what))[2:]
        assert broken
        for path in broken:
            path.write_bytes(path.read_bytes()[:100])
    with running(where) as (_, takes):
        for take in asked.values():
            assert finished(takes, take).error is None
            assert made(takes, take) == local_bytes(take)


def test_a_take_that_was_begun_with_other_settings_fails_and_is_no_mixture(stopped_copy):
    where, asked = stopped_copy
    with running(where, "refiner.strength=0.5") as (_, takes):
        for take in asked.values():
            assert finished(takes, take).error[0] == "interrupted"


def test_what_waited_waits_again_and_what_was_for_one_client_alone_has_failed(ray_cluster, tmp_path):
    with running(tmp_path, "serve.in_flight=1", seconds=0.05) as (engine, takes):
        runs, waits = engine.submit(take_of(200, transient=True)), engine.submit(take_of(24))
        until(lambda: takes.get(runs.id).status is Status.IN_PROGRESS)
    with running(tmp_path) as (engine, takes):
        assert takes.get(runs.id).error[0] == "interrupted"
        assert finished(takes, waits).status is Status.COMPLETED
        assert takes.get(runs.id).status is Status.FAILED


def test_closing_waits_for_what_runs_and_keeps_it_and_listeners_hear_of_it(ray_cluster, tmp_path):
    with running(tmp_path, seconds=0.3) as (engine, takes):
        take = engine.submit(take_of(200))
        live = engine.live(take.id)
        until(lambda: engine.gauges().get("base_calls") == 1, "a chunk")
        began = time.monotonic()
        engine.close(20)
        assert time.monotonic() - began < 10
    assert path_of(takes, take, chunk_name(0)).exists() and takes.get(take.id).status is Status.IN_PROGRESS

    async def follow():
        return [event.kind async for event in live.follow()]

    assert asyncio.run(asyncio.wait_for(follow(), 5))[-1] == "interrupted"
    assert engine.state == "draining" and engine.live(take.id) is None
    with pytest.raises(NotReady):
        engine.submit(take_of())


def test_frames_are_the_same_while_actors_are_killed(ray_cluster, tmp_path):
    overrides = ("ray.refiner.num_actors=2", "ray.max_attempts=30")
    with running(tmp_path, *overrides, kill=0.08) as (engine, takes):
        asked = [engine.submit(take_of(56, coupling=coupling)) for coupling in Coupling]
        for take in asked:
            assert finished(takes, take).error is None
            assert made(takes, take) == local_bytes(take)


@pytest.mark.parametrize("coupling", Coupling)
@pytest.mark.parametrize(("num_frames", "more"), [(56, 30), (60, 8), (17, 40)])
def test_an_extension_is_what_asking_for_all_of_it_at_once_gives(shared, coupling, num_frames, more):
    engine, takes = shared
    source = finished(takes, engine.submit(take_of(num_frames, coupling=coupling, cues=(Cue(9, "a star"),))))
    with pytest.raises(ValueError, match="must be at least 1"):
        extended(source, "a blue square", 0, 1000)
    take = finished(takes, engine.submit(extended(source, "a blue square", more, 1000)))
    assert take.num_frames == num_frames + more and take.extends == source.id
    assert take.cues == (Cue(9, "a star"), Cue(num_frames, "a blue square"))
    at_once = take_of(num_frames + more, coupling=coupling, cues=take.cues)
    assert made(takes, take) == local_bytes(at_once)
    log = takes.store.local_path / "log"
    starts = [0, *range(16, 200, 8)]
    assert min(calls_of(log, "base", take.id)) == next(i for i, start in enumerate(starts) if start >= num_frames)
    last = max(0, -(-(num_frames - 24) // 16))
    assert min(calls_of(log, "refiner", take.id)) == (last if coupling is Coupling.CAUSAL else 0)
    assert path_of(takes, take, "thumbnail.jpg").exists()
    previews = b"".join(one.read_bytes() for one in sorted(path_of(takes, take, "previews").iterdir()))
    assert len(list(decode(io.BytesIO(previews)))) == num_frames + more


def test_the_oldest_go_when_the_disk_is_full_and_what_has_expired_goes_at_a_start(ray_cluster, shared, tmp_path):
    engine, takes = shared
    size = finished(takes, engine.submit(take_of(24))).size_bytes
    with running(tmp_path, f"serve.max_disk_bytes={size * 5 // 2}") as (engine, takes):
        asked = [finished(takes, engine.submit(take_of(24, seed=seed))) for seed in range(3)]
        until(lambda: len(takes.all()) < 3, "the oldest one goes")
        assert [take.id for take in takes.all()] == [take.id for take in asked[1:]]
        until(lambda: not path_of(takes, asked[0]).exists(), "its files")
    takes.save(replace(asked[1], expires_at=int(time.time()) - 1))
    with running(tmp_path) as (_, takes):
        until(lambda: not path_of(takes, asked[1]).exists(), "its files")
        assert [take.id for take in takes.all()] == [asked[2].id]


def test_a_stage_that_raises_ends_its_own_take_with_the_reason(ray_cluster, tmp_path):
    with running(tmp_path, fail_prompt="no") as (engine, takes):
        bad, good = engine.submit(take_of(prompt="no")), engine.submit(take_of())
        assert finished(takes, bad).error == ("generation_failed", "prompt='no': the toy does not like it")
        assert finished(takes, good).error is None
        with pytest.raises(ValueError, match="width=7"):
            engine.submit(replace(take_of(), width=7))


def test_a_take_that_cannot_be_written_ends_alone(shared):
    engine, takes = shared
    for name in ("previews", "fragments", "video.mp4"):
        take = take_of(40)
        blocked = path_of(takes, take, name)
        blocked.parent.mkdir(parents=True)
        if name == "video.mp4":
            blocked.mkdir()
        else:
            blocked.write_bytes(b"a file where a folder should be")
        engine.submit(take)
        assert finished(takes, take).error == ("storage_failed", "The files of the video could not be written.")
    assert finished(takes, engine.submit(take_of(40))).status is Status.COMPLETED


def test_pools_that_cannot_be_had_are_a_state_and_no_take_is_lost(ray_cluster, tmp_path):
    takes = Takes(Store(tmp_path))
    waits = takes.create(take_of(24))
    engine = Engine(conf_of(tmp_path), takes, linked(broken="bundle=x is broken"))
    engine.start()
    until(lambda: engine.state != "starting")
    assert (engine.state, engine.why) == ("failed", "the base actors cannot start: bundle=x is broken")
    with pytest.raises(NotReady, match="bundle=x is broken"):
        engine.submit(take_of())
    engine.close(5)
    with running(tmp_path) as (_, takes):
        assert finished(takes, waits).status is Status.COMPLETED


def test_a_second_engine_waits_until_the_first_has_left_the_folder(ray_cluster, tmp_path):
    with running(tmp_path, seconds=0.05) as (first, takes):
        take = first.submit(take_of(120))
        until(lambda: takes.get(take.id).fragments)
        library = Takes(Store(tmp_path))
        second = Engine(conf_of(tmp_path), library, linked())
        second.start()
        until(lambda: "another endpoint is already writing there" in second.why)
        with pytest.raises(NotReady):
            second.cancel(take.id)
        assert second.state == "starting" and takes.get(take.id).is_active
        first.close(0)
        until(lambda: second.state == "ready")
        finished(library, take)
        assert made(library, take) == local_bytes(take)
        second.close(0)


def test_what_lies_about_at_a_start_disturbs_nobody(ray_cluster, tmp_path, caplog):
    store, broken, removed = Store(tmp_path), take_of(), take_of()
    store.put(f"{folder(broken.id)}/take.json", b"{ no JSON")
    store.put(f"{folder(removed.id)}/{chunk_name(0)}", b"left by a removal that was interrupted")
    (tmp_path / "takes" / ".x.mp4.12345678.part").write_bytes(b"left by a killed writer")
    with running(tmp_path) as (engine, takes):
        assert broken.id in caplog.text and not takes.all()
        until(lambda: not path_of(takes, removed).exists())
        assert path_of(takes, broken, "take.json").exists()
        assert not list(tmp_path.rglob("*.part"))
        assert finished(takes, engine.submit(take_of(24))).status is Status.COMPLETED


def test_an_engine_writes_to_s3(ray_cluster, s3_url, tmp_path):
    where = f"{s3_url}/{tmp_path.name}"
    take = take_of(40)
    with running(where) as (engine, takes):
        engine.submit(take)
        ended = finished(takes, take)
        assert ended.status is Status.COMPLETED
        store = takes.store
        fragments = b"".join(store.get(path) for path in store.list(f"{folder(take.id)}/fragments"))
        assert (fragments, store.get(f"{folder(take.id)}/video.mp4")) == local_bytes(take)
        assert ended.size_bytes == sum(store.sizes(folder(take.id)).values()) - store.size(
            f"{folder(take.id)}/take.json"
        )
        engine.delete(take.id)
        until(lambda: not store.list(folder(take.id)))


def test_an_idle_engine_costs_nothing_and_an_asked_one_answers_at_once(shared):
    engine, _ = shared
    until(lambda: engine.gauges()["running"] == 0)
    began = time.process_time()
    time.sleep(2)
    assert time.process_time() - began < 0.2
    began = time.monotonic()
    engine.cancel(engine.submit(take_of(24)).id)
    assert time.monotonic() - began < 2


@pytest.mark.chaos
@pytest.mark.parametrize("coupling", Coupling)
def test_a_driver_that_is_killed_in_the_middle_ends_with_the_same_bytes(ray_cluster, tmp_path, coupling):
    env = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": str(ROOT)}

    def driver(seconds, *asked):
        command = [
            sys.executable,
            "-m",
            "tests.support.engine_driver",
            str(tmp_path / "out"),
            str(seconds),
            *map(str, asked),
        ]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    take = take_of(200, coupling=coupling)
    (tmp_path / "asked.json").write_bytes(write_take(take))
    out = tmp_path / "out" / folder(take.id)
    enough = "fragments/000002.mp4" if coupling is Coupling.CAUSAL else "chunks/000006.npz"
    first = driver(0.05, tmp_path / "asked.json")
    until(lambda: (out / enough).exists() or first.poll() is not None, "the driver", 180)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {one.name: one.stat().st_mtime_ns for one in out.glob("fragments/*.mp4")}
    assert not (out / "video.mp4").exists()
    second = driver(0)
    text, _ = second.communicate(timeout=180)
    assert second.returncode == 0 and json.loads(text.strip().splitlines()[-1]) == {take.id: "completed"}, text
    fragments = sorted((out / "fragments").iterdir())
    assert b"".join(one.read_bytes() for one in fragments) == local_bytes(take)[0]
    assert (out / "video.mp4").read_bytes() == local_bytes(take)[1]
    assert {one.name: one.stat().st_mtime_ns for one in fragments if one.name in before} == before
