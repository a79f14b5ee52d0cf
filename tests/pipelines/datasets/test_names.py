import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.datasets.names import member_name, safe_name, shard_of


@given(st.text())
def test_a_name_is_legal_whatever_the_id(id):
    name = safe_name(id)
    assert 1 <= len(name) <= 120 and name[0] in string.ascii_letters + string.digits
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")


SIMILAR = st.text(st.sampled_from("aA._- /é"), max_size=4)


IDS = st.one_of(
    SIMILAR, SIMILAR.map(safe_name), SIMILAR.map(member_name), st.text(), st.sampled_from(["x" * 200, "x" * 201])
)


@pytest.mark.report("C13")
@pytest.mark.parametrize("name", [safe_name, member_name])
@given(ids=st.lists(IDS))
def test_different_ids_have_different_names_also_where_case_does_not_count(name, ids):
    assert len({name(id).casefold() for id in ids}) == len(set(ids))


@pytest.mark.report("C13")
@given(IDS)
def test_a_member_of_a_tar_has_no_dot_and_begins_with_a_letter_or_digit(id):
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", member_name(id))


# As datasets 5.2 finds splits in names (data_files.py); it takes every digit for a separator too.
SPLIT = re.compile(
    "(^|[-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)([-._ 0-9]|$)", re.IGNORECASE
)
WORDS = st.lists(
    st.sampled_from(
        ["train", "Test", "val", "DEV", "valid", "testing", "contest", "evaluations", "x", "-", "_", ".", " ", "7"]
    ),
    max_size=40,
)


@pytest.mark.report("C12")
@given(WORDS.map("".join))
def test_no_name_has_the_name_of_a_split_in_it(id):
    assert not SPLIT.search(f"{safe_name(id)}.mp4") and not SPLIT.search(f"{member_name(id)}.mp4")


@pytest.mark.parametrize(
    "id",
    [
        "take-1",
        "prompts-8a7e768f4cf4-2",
        "a_b.c",
        "contest-1",
        "tested",
        "550e8400-e29b-41d4-a716-446655440000",
        "x" * 80,
    ],
)
def test_an_id_that_is_a_good_name_is_its_name(id):
    assert safe_name(id) == id


@pytest.mark.parametrize(
    ("id", "begins"),
    [
        ("Take", "Take-"),
        ("a/b", "a_b-"),
        ("..", "id-"),
        (".a", "a-"),
        ("__a", "a-"),
        ("-a", "a-"),
        ("雨", "id-"),
        ("日本 a", "a-"),
        ("", "id-"),
        ("x" * 81, "x" * 80 + "-"),
        ("train", "xtrain-"),
        ("my-test-001", "my-xtest-001-"),
        ("Eval_dev", "xEval_xdev-"),
    ],
)
def test_an_id_with_other_characters_shows_in_its_name_which_ends_in_a_hash(id, begins):
    name = safe_name(id)
    assert name.startswith(begins) and len(name) == len(begins) + 16


def test_a_shard_is_three_digits_of_the_ids_hash():
    assert shard_of("take-1") == "74e" and {len(shard_of(f"{number}")) for number in range(50)} == {3}
