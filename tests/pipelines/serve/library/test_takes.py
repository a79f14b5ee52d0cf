"""The library of takes on a disk and in a bucket, and the conclusions from the files of one."""

import json
import logging
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.checks import FieldError
from longtake.models.domain.prompt import Cue, with_prompt
from longtake.models.domain.scheduler import Coupling
from longtake.models.domain.span import Span
from longtake.pipelines.config.conf import Conf
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.paths import boundary_name, chunk_name, folder, fragment_name, preview_name
from longtake.pipelines.serve.library.resume_plan import (
    Figures,
    count_fragments,
    inherited,
    made_with,
    next_window,
    num_reached,
    old_boundaries,
    shape_of,
)
from longtake.pipelines.serve.library.takes import (
    NoSuchTake,
    Status,
    Take,
    Takes,
    extended,
    new_id,
    read_take,
    with_prompts,
    write_take,
)


def take_of(num_frames=56, coupling=Coupling.CAUSAL, **fields):
    size = {"seed": 7, "fps": 8, "width": 32, "height": 16, "created_at": 1000}
    return Take(id=new_id(), prompt="a red circle", num_frames=num_frames, coupling=coupling, **size, **fields)


def shape(num_frames=56, coupling=Coupling.CAUSAL):
    take = take_of(num_frames, coupling)
    conf = replace(Conf(), refiner=replace(Conf().refiner, coupling=coupling))
    return shape_of(take, conf)


FULL = take_of(
    owner="key",
    cues=(Cue(16, "a blue square"),),
    negative_prompt="räin ☃",
    guidance_scale=3.0,
    status=Status.FAILED,
    started_at=1001,
    completed_at=1002,
    expires_at=1003,
    error=("cancelled", "why"),
    extends=new_id(),
    fragments=(10, 20),
    transient=True,
)


def test_a_record_comes_back_as_it_was():
    assert read_take(write_take(FULL)) == FULL


def test_fields_that_a_later_release_adds_are_left_out():
    assert read_take(json.dumps({**json.loads(write_take(FULL)), "later": [1]}).encode()) == FULL


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../etc/passwd"},
        {"status": "lost"},
        {"num_frames": "many"},
        {"cues": [{"from_frame": 0, "prompt": "a"}]},
        {"error": ["one"]},
        {"prompt": None},
    ],
)
def test_a_record_with_a_wrong_value_is_refused(change):
    with pytest.raises(ValueError):
        read_take(json.dumps({**json.loads(write_take(FULL)), **change}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(ValueError):
        read_take(data)


@pytest.mark.parametrize("text", ["", "video_", "../video_" + "0" * 32, "video_" + "0" * 31 + "/", "video_" + "A" * 32])
def test_no_other_text_than_an_id_becomes_a_path(text, tmp_path):
    with pytest.raises(ValueError, match="must be video_ and 32 hexadecimal digits"):
        folder(text)
    with pytest.raises(ValueError, match="must be video_"):
        replace(FULL, id=text)
    with pytest.raises(NoSuchTake):
        Takes(Store(tmp_path)).get(text)
    with pytest.raises(NoSuchTake):
        Takes(Store(tmp_path)).forget(text)


def test_ids_are_drawn_from_128_bits():
    assert len({new_id() for _ in range(1000)}) == 1000 and len(new_id()) == len("video_") + 32


def test_what_was_created_and_saved_is_there_after_a_restart(store):
    takes = Takes(store)
    first, second = takes.create(take_of()), takes.create(take_of())
    takes.save(replace(first, status=Status.COMPLETED))
    takes.note(replace(second, progress=50))
    again = Takes(store)
    assert again.load() == []
    assert [take.id for take in again.all()] == [first.id, second.id]
    assert again.get(first.id).status is Status.COMPLETED
    assert (takes.get(second.id).progress, again.get(second.id).progress) == (50, 0)
    assert again.create(take_of()).ordinal == second.ordinal + 1


def test_a_forgotten_take_is_gone_and_cannot_be_saved(store):
    takes = Takes(store)
    take, other = takes.create(take_of()), takes.create(take_of())
    store.put(f"{folder(take.id)}/{fragment_name(0)}", b"x")
    takes.forget(take.id)
    for gone in (takes.get, takes.forget):
        with pytest.raises(NoSuchTake):
            gone(take.id)
    with pytest.raises(NoSuchTake):
        takes.save(take)
    files = [f"{folder(take.id)}/{fragment_name(0)}", f"{folder(other.id)}/take.json"]
    assert store.list("takes") == sorted(files) and Takes(store).load() == [take.id]


def test_a_broken_record_is_left_as_it_is_with_a_warning(store, caplog):
    takes = Takes(store)
    good, broken, moved = (takes.create(take_of()) for _ in range(3))
    store.put(f"{folder(broken.id)}/take.json", b'{"id": ')
    store.put(f"{folder(moved.id)}/take.json", write_take(good))
    with caplog.at_level(logging.WARNING):
        assert Takes(store).load() == []
        again = Takes(store)
        again.load()
    assert [take.id for take in again.all()] == [good.id]
    assert broken.id in caplog.text and "belongs to another folder" in caplog.text
    assert store.get(f"{folder(broken.id)}/take.json") == b'{"id": '


def test_folders_without_a_record_are_what_a_removal_left(store):
    takes = Takes(store)
    take = takes.create(take_of())
    store.put(f"{folder(take.id)}/{chunk_name(0)}", b"x")
    store.put("takes/endpoint.json", b"{}")
    store.put("takes/somebody else's/file", b"x")
    takes.forget(take.id)
    assert Takes(store).load() == [take.id]


def test_pages_are_the_owners_own_the_latest_first(tmp_path):
    takes = Takes(Store(tmp_path))
    mine = [takes.create(take_of(owner="me")).id for _ in range(5)]
    takes.create(take_of(owner="you"))

    def page(*args):
        found, more = takes.list("me", *args)
        return [take.id for take in found], more

    assert page(None, 2) == (mine[:2:-1], True)
    assert page(mine[3], 2) == ([mine[2], mine[1]], True)
    assert page(mine[1], 2) == ([mine[0]], False)
    assert page(mine[1], 3, "asc") == (mine[2:], False)
    assert len(takes.list(None)[0]) == 6
    with pytest.raises(NoSuchTake):
        takes.list("you", mine[0])


def test_threads_that_create_and_read_do_not_disturb_each_other(tmp_path):
    takes = Takes(Store(tmp_path))

    def create():
        for _ in range(20):
            takes.create(take_of())

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = takes.list(None, None, 1000, "asc")[0]
        assert [take.ordinal for take in seen] == list(range(len(seen)))
    assert len(takes.all()) == 80


def ended(size_bytes, completed_at, expires_at=10**9, status=Status.COMPLETED):
    return take_of(status=status, size_bytes=size_bytes, completed_at=completed_at, expires_at=expires_at)


def test_what_is_past_its_time_goes_and_then_the_oldest_until_the_rest_fits(tmp_path):
    takes = Takes(Store(tmp_path))
    old, new, late, failed = (
        takes.create(one).id
        for one in (ended(40, 10), ended(40, 30), ended(40, 40, expires_at=50), ended(40, 20, status=Status.FAILED))
    )
    running = takes.create(take_of(status=Status.IN_PROGRESS, size_bytes=40)).id
    assert takes.expired(49, 1000) == []
    assert takes.expired(50, 1000) == [late]
    assert takes.expired(49, 160) == [old]
    assert set(takes.expired(50, 100)) == {late, old, failed}
    assert set(takes.expired(50, 1)) == {late, old, failed, new} and running not in takes.expired(50, 1)


@pytest.mark.report("A5")
def test_the_owner_with_most_bytes_makes_room_on_the_disk():
    def ended(owner, size_bytes, completed_at):
        take = take_of(owner=owner, status=Status.COMPLETED, size_bytes=size_bytes, completed_at=completed_at)
        return takes.create(take).id

    takes = Takes(Store("memory://shares"))
    modest = ended("modest", 30, 1)  # the oldest of all
    greedy = [ended("greedy", 50, at) for at in (2, 3, 4)]
    assert takes.expired(49, 180) == []
    assert takes.expired(49, 130) == [greedy[0]]
    assert set(takes.expired(49, 80)) == set(greedy[:2])
    assert set(takes.expired(49, 79)) == {*greedy[:2], greedy[2]}
    assert modest in takes.expired(49, 1)


def test_a_take_goes_on_with_a_cue_at_the_end_of_the_other():
    source = take_of(40, cues=(Cue(8, "b"),), owner="me", num_inference_steps=20, guidance_scale=3.0)
    more = extended(source, "c", 16, 2000)
    assert (more.num_frames, more.cues, more.extends) == (56, (Cue(8, "b"), Cue(40, "c")), source.id)
    assert (more.owner, more.seed, more.spec.settings) == ("me", 7, source.spec.settings)
    assert (more.num_inference_steps, more.guidance_scale, more.coupling) == (20, 3.0, source.coupling)
    for wrong, field in ((("c", 0), "num_frames"), ((" ", 8), "prompt")):
        with pytest.raises(FieldError) as error:
            extended(source, *wrong, 2000)
        assert error.value.field == field


def test_a_prompt_from_a_frame_on_holds_up_to_the_next_cue():
    take = take_of(cues=(Cue(16, "b"), Cue(32, "c")))

    def changed(frame, prompt):
        return with_prompts(take, with_prompt(take.spec, frame, prompt))

    assert changed(0, "x") == replace(take, prompt="x")
    assert changed(24, "x").cues == (Cue(16, "b"), Cue(24, "x"), Cue(32, "c"))
    assert changed(16, "x").cues == (Cue(16, "x"), Cue(32, "c"))
    with pytest.raises(ValueError):
        changed(16, " ")


def test_the_settings_of_a_take_are_all_in_its_spec():
    own = (("video.fps", 8), ("refiner.width", 32), ("refiner.height", 16), ("refiner.coupling", "causal"))
    assert take_of().spec.settings == own
    base = (("base.num_inference_steps", 20), ("base.guidance_scale", 3.0))
    assert take_of(num_inference_steps=20, guidance_scale=3.0).spec.settings == (*base, *own)


def test_what_bytes_depend_on_has_a_name_of_its_own():
    conf = Conf()
    other = replace(conf, refiner=replace(conf.refiner, strength=0.5))
    elsewhere = replace(conf, ray=replace(conf.ray, max_attempts=2))
    names = [made_with(conf, "a"), made_with(conf, "b"), made_with(other, "a")]
    assert len(set(names)) == 3 and made_with(elsewhere, "a") == names[0]


@given(num_frames=st.integers(1, 300), data=st.data())
def test_a_causal_take_goes_on_at_the_first_window_that_is_not_final(num_frames, data):
    cut = shape(num_frames)
    final = data.draw(st.integers(0, cut.num_fragments))
    names = {fragment_name(window) for window in range(final)}
    for window in range(final):
        names |= set(cut.basis(window + 1))
    assert next_window(cut, names) == final
    if 0 < final < cut.num_fragments:
        lost = data.draw(st.sampled_from(sorted(cut.basis(final))))
        assert next_window(cut, names - {lost}) < final  # further back, but never at a window whose basis is incomplete
        assert all(name in names - {lost} for name in cut.basis(next_window(cut, names - {lost})))


@given(num_frames=st.integers(1, 300), data=st.data())
def test_a_symmetric_take_goes_on_from_its_chunks_alone(num_frames, data):
    cut = shape(num_frames, Coupling.SYMMETRIC)
    final = data.draw(st.integers(0, cut.num_fragments))
    names = {fragment_name(window) for window in range(final)} | {chunk_name(0)}
    assert next_window(cut, names) == (final if final == cut.num_fragments else 0)


@given(num_frames=st.integers(1, 300), more=st.integers(1, 100), coupling=st.sampled_from(Coupling))
def test_what_is_inherited_lets_a_take_go_on_at_the_last_window_and_has_no_frame_past_the_end(
    num_frames, more, coupling
):
    source, longer = shape(num_frames, coupling), shape(num_frames + more, coupling)
    names = inherited(source)
    last = len(source.plan.windows) - 1
    assert next_window(longer, names) == (last if coupling is Coupling.CAUSAL else 0)
    for index, chunk in enumerate(source.plan.chunks):
        assert (chunk_name(index) in names) == (chunk.start < num_frames)
        assert (preview_name(index) in names) == (chunk.stop <= num_frames)
    assert source.plan.segments[:last] == longer.plan.segments[:last]


def test_boundaries_of_the_two_latest_final_windows_are_kept():
    cut = shape(200)
    names = {fragment_name(window) for window in range(4)}
    for window in range(5):
        names |= set(cut.boundaries(window))
    assert old_boundaries(cut, names) == [*cut.boundaries(0), *cut.boundaries(1)]
    assert boundary_name(3, Span(0, 1)) in cut.boundaries(3)


def test_prompts_of_chunks_that_somebody_may_have_seen_do_not_change():
    cut = shape(200)
    assert num_reached(cut, set()) == 0
    assert num_reached(cut, {chunk_name(2)}) == 3
    assert num_reached(cut, {preview_name(4), chunk_name(2)}) == 5
    assert num_reached(cut, {fragment_name(1)}) == cut.plan.chunks_of(1)[-1] + 1


@given(st.tuples(*[st.tuples(st.integers(0, 9), st.integers(9, 99))] * 3))
def test_percent_is_99_at_most_and_grows_with_each_part(parts):
    percent = Figures(*parts).percent
    assert 0 <= percent <= 99
    for i, (done, total) in enumerate(parts):
        more = list(parts)
        more[i] = (min(total, done + 1), total)
        assert Figures(*more).percent >= percent
    assert Figures((9, 9), (9, 9), (9, 9)).percent == 99


def test_fragments_count_up_to_the_first_gap():
    assert count_fragments({fragment_name(0), fragment_name(1), fragment_name(3)}) == 2
