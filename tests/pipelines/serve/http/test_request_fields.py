"""What clients send for each field, and the words in which anything else is refused."""

import json

import pytest
import schemathesis
from hypothesis import given, settings

from longtake.pipelines.serve.http import request_body
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.openapi import BODIES, body_of, schemas
from longtake.pipelines.serve.http.request_body import FORM, JSON
from longtake.pipelines.serve.http.schema import VideoRequest
from tests.support.http_asks import from_json


def read(**fields):
    return from_json(json.dumps({"prompt": "a", **fields}), VideoRequest)


def refusal(field, text):
    """(code, message) for a value of a field, written in JSON."""
    with pytest.raises(ApiError) as error:
        from_json(f'{{"prompt": "a", "{field}": {text}}}', VideoRequest)
    assert error.value.param == field
    return error.value.code, error.value.message


@pytest.mark.report("A14")
@pytest.mark.parametrize("size", ["128X64", "128x64", " 128 x 64 ", "128\u00d764", "128*64"])
def test_a_size_is_two_numbers_however_they_are_joined(size):
    assert read(size=size).size == (128, 64)


@pytest.mark.report("A14")
@pytest.mark.parametrize("size", ["auto", "AUTO", " auto ", None])
def test_the_default_size_can_be_asked_for(size):
    assert read(size=size).size is None


@pytest.mark.report("A14")
def test_whole_numbers_may_have_a_point():
    one = read(
        num_frames=8.0, seed=1e3, prompt=[{"from_frame": 0.0, "prompt": "a"}, {"from_frame": 4.0, "prompt": "b"}]
    )
    assert (one.num_frames, one.seed, one.prompt[1][0].from_frame) == (8, 1000, 4)
    assert {type(value) for value in (one.num_frames, one.seed, one.prompt[1][0].from_frame)} == {int}
    assert from_json('{"prompt": "a", "seed": 9007199254740991.0}', VideoRequest).seed == 2**53 - 1


@pytest.mark.report("A14")
@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("size", '"64"', 'size="64": must be width x height in pixels, such as 128x128, or auto'),
        ("size", "[64, 64]", "size=[64, 64]: must be width x height in pixels, such as 128x128, or auto"),
        ("num_frames", "8.5", "num_frames=8.5: must be a whole number"),
        ("num_frames", '"8"', 'num_frames="8": must be a whole number'),
        ("num_frames", "true", "num_frames=true: must be a whole number"),
        ("num_frames", "0", "num_frames=0: must be at least 1"),
        ("num_frames", "1e400", "num_frames=1e400: is too large"),
        ("seed", "NaN", "seed=NaN: must be a whole number"),
        ("seed", "9007199254740993.0",
         "seed=9007199254740993.0: a whole number of 9007199254740992 or more must be written with all its digits"),
        ("seed", str(2**63), f"seed={2**63}: must be less than {2**63}"),
        ("fps", "241", "fps=241: must be at most 240"),
        ("seconds", '"4s"', 'seconds="4s": must be a number of seconds, such as 4 or 2.5'),
        ("seconds", "-1E1", "seconds=-1E1: must be a number of seconds, such as 4 or 2.5"),
        ("guidance_scale", "1E400", "guidance_scale=1E400: must be at most 100"),
        ("guidance_scale", "0.50", "guidance_scale=0.50: must be at least 1"),
        ("coupling", '"loose"', 'coupling="loose": must be causal or symmetric'),
        ("negative_prompt", '["a"]', "negative_prompt=[\"a\"]: must be a string"),
        ("n", "2", "n=2: must be 1"),
        ("quality", '"hd"', 'quality="hd": must be "auto" or "standard"'),
    ],
)  # fmt: skip
def test_a_refusal_repeats_what_was_sent_and_says_the_rule_in_words(field, value, rule):
    assert refusal(field, value) == ("invalid_value", rule)


def test_a_number_of_any_length_is_refused_in_a_short_line():
    for digits in (30, 399, 401, 5000):
        for field in ("seed", "fps"):
            code, message = refusal(field, "1" * digits)
            assert code == "invalid_value" and len(message) < 200 and message.startswith(f"{field}=111")


@pytest.mark.report("A14")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_json_may_have_a_byte_order_mark_and_any_encoding_of_unicode(encoding):
    assert from_json('{"prompt": "ein Kreis, größer"}'.encode(encoding), VideoRequest).prompt[0] == "ein Kreis, größer"
    assert from_json('\ufeff{"prompt": "a"}', VideoRequest).prompt[0] == "a"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("[1]", "it is a list"),
        ('"a"', "it is a string"),
        ("{'prompt': 'a'}", "Expecting property name enclosed in double quotes at line 1, column 2"),
        ('{"prompt": "a"\n "seed": 1}', "Expecting ',' delimiter at line 2, column 2"),
        ("[" * 100_000, "it is nested too deeply"),
        (b'{"prompt": "\xff"}', "byte 12 is not UTF-8"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_place(text, reason):
    with pytest.raises(ApiError) as error:
        from_json(text, VideoRequest)
    assert (error.value.code, error.value.message) == ("invalid_json", f"Not a JSON object: {reason}.")


def test_a_field_that_is_given_twice_is_refused():
    with pytest.raises(ApiError, match="seed is given twice"):
        from_json('{"prompt": "a", "seed": 1, "seed": 2}', VideoRequest)


@pytest.mark.report("C20")
def test_null_is_absence_for_every_field_that_may_be_absent():
    names = [name for name in VideoRequest.model_fields if name != "prompt"]
    assert read(**dict.fromkeys(names)) == read()
    assert read(input_reference=None) == read()
    with pytest.raises(ApiError, match="prompt is missing"):
        read(prompt=None)


@pytest.mark.report("C20")
def test_what_clients_add_is_ignored_and_a_mistyped_name_is_not():
    added = {"user": "u-1", "metadata": {"a": 1}, "extra_headers": {}, "n": 1, "quality": "standard"}
    assert read(**added, response_format="url").prompt == read().prompt
    for name, meant in {"num_frame": "num_frames", "Seed": "seed", "duration": "seconds", "usr": "user"}.items():
        code, message = refusal(name, "1")
        assert code == "unknown_parameter" and message == f"{name}: unknown field; did you mean {meant}?"
    assert refusal("zzz", "1")[1] == "zzz: unknown field"
    with pytest.raises(ApiError, match="Prompt: unknown field; did you mean prompt?"):
        from_json('{"Prompt": "a"}', VideoRequest)


def bodies_of(kind, media):
    """Requests whose bodies the document allows."""
    operation = {**body_of(kind), "responses": {"200": {"description": "."}}}
    operation["requestBody"] = {"required": True, "content": {media: operation["requestBody"]["content"][media]}}
    named = {"schemas": schemas()}
    document = {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {"/": {"post": operation}}}
    schema = schemathesis.openapi.from_dict({**document, "components": named})
    return schema["/"]["POST"].as_strategy()


@pytest.mark.report("A17")
@pytest.mark.parametrize("media", [JSON, FORM])
@pytest.mark.parametrize("kind", BODIES)
def test_what_the_document_allows_can_be_sent(kind, media):
    @settings(max_examples=15)
    @given(case=bodies_of(kind, media))
    def send(case):
        if media == FORM:
            texts: dict[str, object] = {}
            for name, value in case.body.items():
                request_body._put(texts, name, value if isinstance(value, str) else json.dumps(value))
            request_body._validated(texts, kind, form=True)
            return
        try:
            from_json(json.dumps(case.body), kind)
        except ApiError as error:  # no schema can say that the prompts of a list follow each other
            assert error.param is not None and error.param.endswith(".from_frame"), error

    send()
