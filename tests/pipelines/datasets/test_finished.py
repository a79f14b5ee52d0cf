import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.datasets.finished import Finished, Ids, digest_of, digests_of, free_places


def test_ids_that_are_added_stay_known_when_they_are_merged(monkeypatch):
    monkeypatch.setattr(Ids, "NUM_NEW", 16)
    ids = Ids()
    for number in range(100):
        assert f"{number}" not in ids
        ids.add(f"{number}")
        ids.add(f"{number // 2}")
        assert len(ids) == number + 1
    assert all(f"{number}" in ids for number in range(100)) and "100" not in ids


def _columns(*rows):
    ids, requests, ordinals, failed = zip(*rows, strict=True)
    return digests_of(ids), digests_of(requests), np.array(ordinals), np.array(failed)


def test_finished_rows_are_found_by_their_ids():
    finished = Finished([_columns(("b", "x", 4, False), ("a", "y", 0, True)), _columns(("c", "z", 7, False))])
    assert len(finished) == 3 and finished.find("d") is None
    place = finished.find("a")
    assert (finished.requests[place], finished.ordinals[place], finished.failed[place]) == (digest_of("y"), 0, True)


def test_of_two_rows_with_the_same_id_the_first_counts():
    finished = Finished([_columns(("a", "part", 0, False)), _columns(("a", "record", 1, True))])
    assert len(finished) == 1 and finished.ordinals.tolist() == [0]


@given(st.lists(st.integers(0, 30)))
def test_free_places_are_those_that_nobody_has_in_ascending_order(taken):
    places = free_places(np.array(taken, np.int64))
    assert [next(places) for _ in range(40)] == [n for n in range(80) if n not in taken][:40]
