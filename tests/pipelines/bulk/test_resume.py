"""What a job has to do, as a function of its rows and of the rows that are finished."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.bulk.resume import resume
from longtake.pipelines.bulk.settings import Changed
from longtake.pipelines.datasets.finished import Finished, digests_of

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), unique_by=lambda row: row[0], max_size=12)
POLICIES = st.sampled_from(Changed)


def finished_of(rows):
    """Of (id, request, ordinal, has failed)."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    ids, requests = (digests_of(map(str, column)) for column in columns[:2])
    return Finished([(ids, requests, np.array(columns[2], np.int64), np.array(columns[3], bool))])


def resumed(finished, rows, changed=Changed.REMAKE, retry_failed=False):
    ids, requests = (digests_of(str(row[i]) for row in rows) for i in (0, 1))
    return resume(finished, ids, requests, changed, retry_failed)


def run(finished, rows, stop, changed=Changed.REMAKE, retry_failed=False):
    """The finished rows after `stop` of the rows that are left were made, and those that were there before."""
    found = resumed(finished_of(finished), rows, changed, retry_failed)
    gone = set(found.finished.ids[found.forgotten].tolist())
    kept = [row for row in finished if digests_of([str(row[0])])[0] not in gone]
    left = [
        (*row, int(place), False)
        for row, place, is_kept in zip(rows, found.ordinals, found.is_kept, strict=True)
        if not is_kept
    ]
    return kept + left[:stop], kept + left


@pytest.mark.report("B1")
@given(ROWS, st.sets(st.integers(0, 11)))
def test_rows_of_an_unchanged_list_have_the_places_of_the_list_wherever_a_job_was_stopped(rows, made):
    finished = finished_of([(*row, place, False) for place, row in enumerate(rows) if place in made])
    assert resumed(finished, rows).ordinals.tolist() == list(range(len(rows)))


@pytest.mark.report("B1", "C11")
@given(ROWS, ROWS, st.integers(0, 12), POLICIES, st.booleans())
def test_after_any_edit_and_any_stop_no_place_is_taken_twice_and_the_end_is_the_same(
    before, after, stop, changed, retry
):
    first = [(*row, place, row[1] == 2) for place, row in enumerate(before)]
    stopped, whole = run(first, after, stop, changed, retry)
    _, resumed_whole = run(stopped, after, 99, changed)
    places = [row[2] for row in whole]
    assert len(set(places)) == len(places)
    assert sorted(resumed_whole) == sorted(whole)
    if changed is not Changed.KEEP:  # the dataset is what the list asks for
        assert sorted(row[:2] for row in whole) == sorted(after)


def test_a_row_is_known_by_its_id_and_by_what_it_asks_for():
    finished = finished_of([("same", 0, 0, False), ("other", 0, 1, False), ("gone", 0, 2, False)])
    found = resumed(finished, [("new", 0), ("other", 1), ("same", 0)], Changed.REFUSE)
    assert found.is_kept.tolist() == [False, False, True]
    assert found.changed.sum() == found.gone.sum() == 1 and set(found.outdated) == set(digests_of(["other", "gone"]))
    assert found.ordinals.tolist() == [1, 2, 0]


def test_videos_stay_where_that_is_asked_for_and_their_places_too():
    finished = finished_of([("other", 0, 0, False), ("gone", 0, 1, False)])
    found = resumed(finished, [("new", 0), ("other", 1)], Changed.KEEP)
    assert found.is_kept.tolist() == [False, True] and found.ordinals.tolist() == [2, 0] and not found.forgotten.any()


@pytest.mark.report("B14", "B2")
@pytest.mark.parametrize("changed", Changed)
def test_failed_rows_are_replaced_when_they_changed_and_dropped_when_they_are_gone(changed):
    finished = finished_of([("same", 0, 0, True), ("other", 0, 1, True), ("gone", 0, 2, True)])
    found = resumed(finished, [("same", 0), ("other", 1)], changed)
    assert found.is_kept.tolist() == found.is_failed.tolist() == [True, False]
    assert len(found.outdated) == 0 and found.forgotten.sum() == 2
    again = resumed(finished, [("same", 0), ("other", 1)], changed, retry_failed=True)
    assert not again.is_kept.any() and again.forgotten.all() and again.ordinals.tolist() == [0, 1]
