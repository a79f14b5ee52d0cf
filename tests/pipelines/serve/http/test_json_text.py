"""JSON as clients send it."""

import time

import pytest

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.json_text import begins_as_json, parse_object, parse_with_file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_object_is_read_in_every_encoding_of_json(encoding):
    assert parse_object('{"prompt": "größer"}'.encode(encoding)) == {"prompt": "größer"}


def test_a_text_may_begin_with_a_byte_order_mark():
    assert parse_object('\ufeff{"seed": 1}') == {"seed": 1}


@pytest.mark.parametrize("text", ["1e-7", "1E400", "NaN", "-Infinity", "9" * 500, "0.10"])
def test_a_number_keeps_its_spelling(text):
    assert repr(parse_object(f'{{"seed": {text}}}')["seed"]) == text


def test_a_whole_number_is_exact():
    assert parse_object(f'{{"seed": {2**63 + 1}}}') == {"seed": 2**63 + 1}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b" \n", "it is empty"),
        (b'{"seed": }', "at line 1, column 10"),
        (b'{"prompt": "\xff"}', "byte 12 is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[1]", "it is a list"),
        (b'"a"', "it is a string"),
        (b"true", "it is a boolean"),
        (b"null", "it is null"),
        (b"1.5", "it is a number"),
    ],
)
def test_anything_else_is_refused_with_the_reason(body, says):
    with pytest.raises(ApiError) as refused:
        parse_object(body)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json") and says in refused.value.message


def test_a_name_that_is_given_twice_is_refused():
    with pytest.raises(ApiError, match="seed is given twice") as refused:
        parse_object(b'{"prompt": "a", "seed": 1, "seed": 2}')
    assert refused.value.param == "seed"


@pytest.mark.parametrize(
    ("body", "is_json"), [(b'\xef\xbb\xbf {"a"', True), (b"[", True), (b"a=1", False), (b"", False)]
)
def test_json_is_told_from_a_form_by_its_first_letter(body, is_json):
    assert begins_as_json(body) == is_json


def test_a_repeated_name_is_found_at_once_among_many():
    """The event loop waits for it."""
    names = [f"n{i}" for i in range(20_000)]
    began_s = time.perf_counter()
    with pytest.raises(ApiError, match="^n19999 is given twice"):
        parse_object("{" + ",".join(f'"{name}":0' for name in (*names, "n19999")) + "}")
    assert time.perf_counter() - began_s < 1


@pytest.mark.parametrize("name", ["input_reference", "image_url"])
def test_a_long_body_is_that_of_a_long_file_and_may_have_escapes(name):
    text = f'{{"prompt": "a", "{name}" : "data:image\\/png;base64,{"a" * 900}"}}'
    for encoding in ("utf-8", "utf-16"):
        assert parse_with_file(text.encode(encoding), "input_reference", 100)["prompt"] == "a"


@pytest.mark.parametrize(
    "text",
    [
        "[" + ",".join(["[]"] * 200) + "]",
        '{"input_reference": "data:,a", "metadata": "' + "a" * 200 + '"}',
        '{"prompt": "data:' + "a" * 200 + '"}',
        '{"input_reference": "data:' + "a" * 200,
        "{" + ",".join(['"input_reference": "data:aaaaa"'] * 10) + "}",
    ],
)
def test_fields_beside_a_file_are_as_short_as_without_one(text):
    with pytest.raises(ApiError, match="The fields beside input_reference have more than 100 bytes") as refused:
        parse_with_file(text.encode(), "input_reference", 100)
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")
