"""Valid requests in JSON and in forms, and the refusals of invalid ones."""

import asyncio
import json
from dataclasses import replace

import httpx2
import pytest
from fastapi import Request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from longtake.models.domain.prompt import Cue
from longtake.models.nets.sizes import SideRule, SizeRule
from longtake.pipelines.runners.bundle_limits import limits_of
from longtake.pipelines.serve.http.errors import HANDLERS, ApiError
from longtake.pipelines.serve.http.request_body import read_body
from longtake.pipelines.serve.http.request_checks import RequestChecker, seconds_of
from longtake.pipelines.serve.http.schema import ExtensionRequest, RemixRequest, VideoRequest
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.takes import Status, write_take
from longtake.pipelines.serve.settings import load_serve
from tests.support.toy import ToyBundle

PROMPT = "a red circle moves right"
MAX_TEXT = load_serve().serve.max_body_bytes
LIMITS = ("serve.max_frames=400", "serve.max_prompt_chars=60", "serve.max_cues=3", "serve.max_steps=50")
BUNDLE = replace(limits_of(load_serve()), sizes=SizeRule(SideRule(16), SideRule(16)))
CHECKER = RequestChecker(load_serve(overrides=LIMITS), ToyBundle(), BUNDLE)


async def take(request: Request):
    request.state.max_text_bytes = MAX_TEXT
    body = await read_body(request, VideoRequest)
    asked = CHECKER.new_take(body, "owner")
    return JSONResponse({**json.loads(write_take(asked)), "warnings": CHECKER.check(asked, body).warnings})


async def extension(request: Request):
    request.state.max_text_bytes = MAX_TEXT
    return JSONResponse((await read_body(request, ExtensionRequest)).model_dump())


APP = Starlette(
    routes=[Route(f"/{f.__name__}", f, methods=["POST"]) for f in (take, extension)], exception_handlers=HANDLERS
)


def post(path="/take", **options):
    async def run():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(APP), base_url="http://x") as client:
            return await client.post(path, **options)

    return asyncio.run(run())


def asked(**fields):
    answer = post(json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(status=400, **fields):
    """(param, code) of the refusal."""
    answer = post(json={"prompt": PROMPT, **fields})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and error["param"] in error["message"]
    return error["param"], error["code"]


def test_a_prompt_is_enough_and_the_rest_is_the_bundles_own():
    one = asked()
    assert (one["num_frames"], one["fps"], one["width"], one["height"]) == (32, 8, 128, 128)
    assert (one["coupling"], one["owner"], one["status"], one["model"]) == ("causal", "owner", "queued", "tiny")
    base = CHECKER.conf.base
    expected = base.num_inference_steps, base.guidance_scale
    assert (one["num_inference_steps"], one["guidance_scale"]) == expected
    assert one["seed"] != asked()["seed"] and one["id"] != asked()["id"]


def test_every_field_becomes_what_it_says():
    one = asked(
        model="tiny", size="64x32", num_frames=40, fps=12, num_inference_steps=20, guidance_scale=3,
        negative_prompt="a circle", seed=7, coupling="symmetric",
    )  # fmt: skip
    assert (one["width"], one["height"], one["num_frames"], one["fps"], one["seed"]) == (64, 32, 40, 12, 7)
    assert (one["negative_prompt"], one["coupling"]) == ("a circle", "symmetric")
    assert (one["num_inference_steps"], one["guidance_scale"]) == (20, 3.0)
    assert (asked(width=64, height=32)["width"], asked(width=64, height=32)["height"]) == (64, 32)


@pytest.mark.parametrize("seconds, num_frames", [("4", 32), ("2.5", 20), (2.5, 20), (1, 8), ("0.125", 1), ("50", 400)])
def test_seconds_become_frames(seconds, num_frames):
    assert asked(seconds=seconds)["num_frames"] == num_frames
    assert float(seconds_of(num_frames, 8)) == float(seconds)


def test_a_schedule_becomes_cues():
    one = asked(prompt=[{"from_frame": 0, "prompt": "a red circle"}, {"from_frame": 16, "prompt": "a circle"}])
    assert (one["prompt"], one["cues"]) == ("a red circle", [{"from_frame": 16, "prompt": "a circle"}])


def test_words_that_the_model_does_not_know_and_prompts_that_never_show_are_warned_of():
    schedule = [{"from_frame": 0, "prompt": "a purple circle"}, {"from_frame": 31, "prompt": "a circle"}]
    warnings = asked(prompt=schedule, negative_prompt="purple ugly")["warnings"]
    assert [word in warning for word, warning in zip(("purple", "ugly", "frame 31"), warnings, strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a" * 61}, "prompt"),
        ({"prompt": [{"from_frame": 1, "prompt": "a"}]}, "prompt[0].from_frame"),
        ({"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 0, "prompt": "a"}]}, "prompt[1].from_frame"),
        ({"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 32, "prompt": "a"}]}, "prompt[1].from_frame"),
        ({"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "a" * 61}]}, "prompt[1].prompt"),
        ({"prompt": [{"from_frame": i, "prompt": "a"} for i in range(4)]}, "prompt"),
        ({"prompt": [{"prompt": "a"}]}, "prompt[0].from_frame"),
        ({"prompt": [{"from_frame": 0, "prompt": "a", "x": 1}]}, "prompt[0].x"),
        ({"negative_prompt": "a" * 61}, "negative_prompt"),
        ({"negative_prompt": 1}, "negative_prompt"),
        ({"prompt": "a " * 23}, "prompt"),
        ({"negative_prompt": "a " * 23}, "negative_prompt"),
        ({"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "a " * 23}]}, "prompt[1].prompt"),
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "-1"}, "seconds"),
        ({"seconds": "51"}, "seconds"),
        ({"seconds": "1e3"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": "4", "num_frames": 32}, "seconds"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": 401}, "num_frames"),
        ({"num_frames": 8.5}, "num_frames"),
        ({"num_frames": "8"}, "num_frames"),
        ({"num_frames": True}, "num_frames"),
        ({"fps": 0}, "fps"),
        ({"fps": 241}, "fps"),
        ({"size": "64"}, "size"),
        ({"size": "64x33"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"size": "64x64", "width": 64}, "size"),
        ({"size": "99984x99984"}, "size"),
        ({"width": 64}, "height"),
        ({"width": 65, "height": 64}, "width"),
        ({"width": 1600, "height": 1600}, "width"),
        ({"num_inference_steps": 51}, "num_inference_steps"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"coupling": "loose"}, "coupling"),
    ],
)
def test_an_invalid_value_is_refused_with_the_name_of_its_field(fields, param):
    assert refused(**fields)[0] == param


def test_unknown_missing_and_foreign_fields_have_codes_of_their_own():
    assert refused(num_frame=8) == ("num_frame", "unknown_parameter")
    assert refused(status=404, model="sora-2") == ("model", "model_not_found")
    answer = post(json={"seed": 1}).json()["error"]
    assert (answer["param"], answer["code"]) == ("prompt", "missing_parameter")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"prompt": "a"', b"\xff", b'{"prompt": "\\ud800"}'])
def test_anything_but_a_json_object_is_refused(body):
    answer = post(content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("media", ["application/xml", "application/jsonx", "image/png"])
def test_other_kinds_of_bodies_are_refused(media):
    answer = post(content=b"{}", headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.report("C20")
@pytest.mark.parametrize(
    "media",
    ["application/x-www-form-urlencoded", "", "text/plain;charset=UTF-8", "application/octet-stream", "text/json",
     "application/problem+json", "application/json; charset=utf-8"],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n"])
def test_json_is_taken_for_json_whatever_the_client_calls_it(media, before):
    answer = post(content=before + b'{"prompt": "a red circle", "seed": 3}', headers={"Content-Type": media})
    assert answer.status_code == 200 and answer.json()["seed"] == 3
    error = post(content=before + b'{"prompt": "a", "seed": -1}', headers={"Content-Type": media}).json()["error"]
    assert error["message"] == "seed=-1: must be at least 0"


@pytest.mark.report("C20")
def test_a_body_without_a_type_and_a_compressed_one_are_refused_in_words():
    answer = post(content=b"prompt=a", headers={"Content-Type": ""})
    assert (answer.status_code, answer.json()["error"]["param"]) == (415, "Content-Type")
    assert answer.json()["error"]["message"].startswith("Content-Type is missing: send application/json")
    assert post(content=b"", headers={"Content-Type": ""}).json()["error"]["code"] == "missing_body"
    answer = post(content=b"x", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    message = "Content-Encoding: gzip is not supported; send the body as it is"
    assert (answer.status_code, answer.json()["error"]["message"]) == (415, message)


@pytest.mark.report("C20")
def test_an_empty_field_of_a_form_is_an_absent_one():
    fields = {"prompt": PROMPT, "seed": "", "size": "", "num_frames": " 8.0 ", "n": "1", "user": "", "metadata[a]": "1"}
    assert post(data=fields).json()["num_frames"] == 8
    answer = post(data={"prompt": "", "seed": "1"}).json()["error"]
    assert (answer["param"], answer["code"]) == ("prompt", "missing_parameter")


@pytest.mark.report("A14")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seconds": 1e-7}, "seconds=1e-07: at 8 frames per second this is less than one frame"),
        ({"seconds": "0.01"}, "seconds=0.01: at 8 frames per second this is less than one frame"),
        ({"seconds": 1e9}, "seconds=1000000000.0: must be at most 50 (400 frames, 8 per second)"),
        ({"seconds": "1e308", "fps": 240}, "seconds=1e308: must be at most 1.666667 (400 frames, 240 per second)"),
        ({"num_frames": 401}, "num_frames=401: must be at most 400 (serve.max_frames)"),
        ({"num_frames": 10**300}, f"num_frames=1{'0' * 56}...: must be at most 400 (serve.max_frames)"),
        ({"model": "m" * 999}, f'model="{"m" * 56}...: this endpoint serves tiny'),
        ({"num_inference_steps": 51}, "num_inference_steps=51: must be at most 50 (serve.max_steps)"),
        ({"size": "100X64"}, "size=100x64: the width must be a multiple of 16, such as 96 or 112"),
        ({"width": 64, "height": 65}, "height=65: must be a multiple of 16, such as 64 or 80"),
    ],
)
def test_a_limit_is_named_with_the_value_that_breaks_it(fields, message):
    assert post(json={"prompt": PROMPT, **fields}).json()["error"]["message"] == message


def test_a_remix_obeys_the_limits_of_today():
    """A video of an endpoint with higher limits is not made again."""
    source = CHECKER.new_take(VideoRequest(prompt=PROMPT), "")
    for changes in ({"num_inference_steps": 51}, {"width": 2048, "height": 2048}, {"num_frames": 401}):
        with pytest.raises(ApiError):
            CHECKER.check(CHECKER.remixed(replace(source, **changes), "a", ()), RemixRequest(prompt="a"))


def test_an_extension_names_what_it_adds():
    source = replace(CHECKER.new_take(VideoRequest(prompt=PROMPT, num_frames=390), ""), status=Status.COMPLETED)
    for name, value in {"num_frames": 11, "seconds": "2.0"}.items():
        with pytest.raises(ApiError) as error:
            CHECKER.extension(source, ExtensionRequest(prompt="a", video={"id": source.id}, **{name: value}))
        assert error.value.message == f"{name}={value}: the video has 390 frames and can have 10 more"


def test_forms_say_the_same_as_json():
    fields = {"prompt": PROMPT, "num_frames": "40", "guidance_scale": "2.5", "seed": "3", "coupling": "symmetric"}
    for form in ({"data": fields}, {"files": {name: (None, value) for name, value in fields.items()}}):
        one = post(**form).json()
        assert (one["num_frames"], one["seed"], one["coupling"]) == (40, 3, "symmetric")
        assert one["guidance_scale"] == 2.5


def test_forms_can_hold_a_schedule_and_a_reference():
    schedule = [{"from_frame": 0, "prompt": "a red circle"}, {"from_frame": 16, "prompt": "a circle"}]
    flat = {"prompt[][from_frame]": ["0", "16"], "prompt[][prompt]": ["a red circle", "a circle"]}
    for form in ({"prompt": json.dumps(schedule)}, flat):
        assert post(data=form).json()["cues"] == [{"from_frame": 16, "prompt": "a circle"}]
    reference = post("/extension", data={"prompt": "a", "video[id]": "video_x", "seconds": "4"})
    assert reference.json()["video"] == {"id": "video_x"}


@pytest.mark.report("A14")
def test_the_cost_names_the_length_as_it_was_sent():
    dear = {"width": 1280, "height": 720, "num_inference_steps": 50, "fps": 1}
    for length in ({"seconds": "399.5"}, {"num_frames": 400}, {}):
        (name, value), *_ = *length.items(), ("seconds", "4")
        checker = RequestChecker(load_serve(overrides=[*LIMITS, "serve.max_cost=1000000"]), ToyBundle(), BUNDLE)
        with pytest.raises(ApiError) as error:
            checker.new_take(VideoRequest(prompt=PROMPT, **dear, **length), "")
        assert error.value.param == name and error.value.message.startswith(f"{name}={value}: 1280x720 pixels x ")


@pytest.mark.report("A1", "A14")
@pytest.mark.parametrize("sent", [{"num_frames": 8}, {"seconds": "1.5"}, {}])
def test_the_cost_of_an_extension_names_the_length_that_was_sent(sent):
    source = replace(CHECKER.new_take(VideoRequest(prompt=PROMPT), ""), status=Status.COMPLETED)
    checker = RequestChecker(load_serve(overrides=[*LIMITS, "serve.max_cost=1000"]), ToyBundle(), BUNDLE)
    request = ExtensionRequest(prompt="a", video={"id": source.id}, **sent)
    (name, value), *_ = *sent.items(), ("seconds", "4")
    with pytest.raises(ApiError) as error:
        checker.check(checker.extension(source, request), request)
    assert error.value.param == name and error.value.message.startswith(f"{name}={value}: ")
    assert "(serve.max_cost)" in error.value.message


@pytest.mark.report("A14")
def test_the_prompt_of_an_extension_is_named_as_it_was_sent():
    source = CHECKER.new_take(VideoRequest(prompt=PROMPT), "")
    for text, says in (("a " * 31, "has 62 characters"), ("a " * 25, "has 25 tokens"), ("", "must not be empty")):
        request = ExtensionRequest(prompt=text, video={"id": source.id})
        with pytest.raises(ApiError, match=f"^prompt.*{says}") as error:
            CHECKER.check(CHECKER.extension(source, request), request)
        assert error.value.param == "prompt"


@pytest.mark.report("A14")
@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ([{"from_frame": True, "prompt": "a"}], "prompt[0].from_frame=true: must be a whole number"),
        ([{"from_frame": None, "prompt": "a"}], "prompt[0].from_frame=null: must be a whole number"),
        ([{"from_frame": 0, "prompt": False}], "prompt[0].prompt=false: must be a string"),
        ([{"from_frame": 0, "prompt": "a"}, None], "prompt[1]=null: must have the fields from_frame and prompt"),
        ([{"from_frame": "1", "prompt": "a"}], 'prompt[0].from_frame="1": must be a whole number'),
        ([{"from_frame": 0, "prompt": "a", "x": [True, None]}], "prompt[0].x=[true, null]: no such field"),
        (True, "prompt=true: must be a string"),
        ({"a": False}, 'prompt={"a": false}: must be a string'),
    ],
)
def test_a_value_is_shown_as_json_spells_it(prompt, says):
    error = post(json={"prompt": prompt}).json()["error"]
    assert error["message"].startswith(says) and says.startswith(error["param"])


def test_a_prompt_that_only_looks_like_a_list_stays_a_text():
    assert post(data={"prompt": "[a red circle"}).json()["prompt"] == "[a red circle"
    assert post(data={"prompt": "[1]"}).json()["prompt"] == "[1]"


@pytest.mark.parametrize(
    "form, param",
    [
        ({"data": {"prompt": PROMPT, "num_frames": "x"}}, "num_frames"),
        ({"data": {"prompt": ["a", "a"]}}, "prompt"),
        ({"data": {"prompt": "a", "prompt[x]": "a"}}, "prompt"),
        ({"data": {"prompt": '[{"from_frame": 0, "prompt": "a", "prompt": "b"}]'}}, "prompt"),
        ({"data": {"prompt": '[{"from_frame": 0, "from_frame": 0, "prompt": "b"}]'}}, "from_frame"),
        ({"files": {"prompt": ("p.txt", b"a")}}, "prompt"),
        ({"data": {"prompt": "a"}, "files": {"input_reference": ("p.gif", b"a")}}, "input_reference"),
    ],
)
def test_forms_are_refused_as_json_is(form, param):
    answer = post(**form)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param


def test_a_broken_form_is_refused():
    for media in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = post(content=b"--y\r\nnothing", headers={"Content-Type": media})
        assert answer.status_code == 400, answer.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(list(VideoRequest.model_fields)) | st.text(max_size=9)


@settings(max_examples=300)
@given(body=st.dictionaries(NAMES, VALUES, max_size=6))
@example(body={"prompt": PROMPT, "seed": 10**4000})
@example(body={"\ud800": 1})
def test_no_json_causes_an_internal_error(body):
    answer = post(content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 404), answer.text


@settings(max_examples=150)
@given(
    st.binary(max_size=80),
    st.sampled_from(["application/json", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"]),
)
@example(b"--b\r\nContent-Disposition: form-data\r\n\r\n--b--", "multipart/form-data; boundary=b")
@example(b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--b--', "multipart/form-data; boundary=b")
@example(b"[" * 79, "application/json")
def test_no_bytes_cause_an_internal_error(body, media):
    answer = post(content=body, headers={"Content-Type": media})
    assert answer.status_code in (200, 400, 404), answer.text


def test_a_remix_is_the_same_request_with_another_prompt():
    source = CHECKER.new_take(VideoRequest(prompt=PROMPT, seed=5, fps=6, num_frames=17), "owner", transient=True)
    again = CHECKER.remixed(source, "a circle", (Cue(8, "a red circle"),))
    assert (again.prompt, again.seed, again.fps, again.num_frames) == ("a circle", 5, 6, 17)
    assert again.spec.settings == source.spec.settings and again.remixed_from == source.id and again.id != source.id
    assert not again.transient and again.owner == "owner"


@pytest.mark.report("A1")
@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"size": "57600x16"}, "size", "no side may exceed 2048 pixels (serve.max_side)"),
        ({"size": "16x57600"}, "size", "no side may exceed 2048 pixels (serve.max_side)"),
        ({"width": 57600, "height": 16}, "width", "no side may exceed 2048"),
        ({"width": 16, "height": 4096}, "height", "no side may exceed 2048"),
        ({"size": "2048x64"}, "size", "at most 4 times the shorter one (serve.max_aspect)"),
        ({"size": "64x272"}, "size", "at most 4 times the shorter one (serve.max_aspect)"),
        ({"size": "1280x736"}, "size", "at most 921600 pixels (serve.max_pixels)"),
        ({"size": "1024x1024"}, "size", "at most 921600 pixels (serve.max_pixels)"),
        (
            {"size": "1280x720", "num_frames": 2400, "num_inference_steps": 100},
            "num_frames",
            "1280x720 pixels x 3 steps + 64x64 pixels x 100 steps, x 2400 frames, are 7618560000, and at most 7",
        ),
        ({"base_width": 4096, "base_height": 2048}, "base_width", "no side may exceed 2048 pixels (serve.max_side)"),
        ({"base_width": 64, "base_height": 320}, "base_height", "at most 4 times the shorter one (serve.max_aspect)"),
        ({"base_width": 1024, "base_height": 1024}, "base_width", "at most 921600 pixels (serve.max_pixels)"),
        (
            {"base_width": 1280, "base_height": 720, "num_frames": 1200},
            "num_frames",
            "128x128 pixels x 3 steps + 1280x720 pixels x 8 steps, x 1200 frames, are 8906342400",
        ),
        ({"base_width": 100}, "base_width", "must be a multiple of 8, such as 96 or 104"),
    ],
)
def test_what_a_request_may_cost_is_bounded_and_the_bound_is_named(fields, param, says):
    checker = RequestChecker(load_serve(), ToyBundle(), BUNDLE)
    with pytest.raises(ApiError) as refused:
        request = VideoRequest(prompt=PROMPT, **fields)
        checker.check(checker.new_take(request, ""), request)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert says in refused.value.message and refused.value.message.startswith(f"{param}=")


@pytest.mark.parametrize(
    ("fields", "param", "value"),
    [
        ({"size": "64x64"}, "size", "64x64"),
        ({"width": 64, "height": 64}, "width", "64x64"),
        ({"base_width": 64}, "base_width", "64"),
        ({"base_width": 48, "base_height": 48}, "base_height", "48"),
    ],
)
def test_without_a_refiner_all_videos_have_the_base_models_size(fields, param, value):
    conf = load_serve(overrides=["refiner.enabled=false", "refiner.height=32", "refiner.width=48"])
    checker = RequestChecker(conf, ToyBundle(), BUNDLE)

    def check(**size):
        request = VideoRequest(prompt=PROMPT, **size)
        checker.check(checker.new_take(request, ""), request)

    check()
    check(size="48x32")
    check(base_width=48, base_height=32)
    says = f"{param}={value}: this endpoint has no refiner, all of its videos are 48x32"
    with pytest.raises(ApiError, match=says) as refused:
        check(**fields)
    assert refused.value.param == param


@pytest.mark.report("A1")
@pytest.mark.parametrize("size", ["1280x720", "720x1280", "512x128", "960x960", "1920x480"])
def test_defaults_allow_720p_of_any_length_with_the_default_steps(size):
    checker = RequestChecker(load_serve(), ToyBundle(), BUNDLE)
    request = VideoRequest(prompt=PROMPT, size=size, num_frames=2400)
    checker.check(checker.new_take(request, ""), request)


@pytest.mark.report("A1")
def test_a_remix_or_an_extension_of_a_video_from_before_keeps_to_the_limits_of_today():
    before = RequestChecker(load_serve(overrides=["serve.max_aspect=100", "serve.max_side=5000"]), ToyBundle(), BUNDLE)
    source = before.new_take(VideoRequest(prompt=PROMPT, size="4096x64"), "")
    today = RequestChecker(load_serve(), ToyBundle(), BUNDLE)
    remix, extension = RemixRequest(prompt=PROMPT), ExtensionRequest(prompt=PROMPT, video={"id": source.id})
    for take, request, param in (
        (today.remixed(source, *remix.prompt), remix, None),
        (today.extension(source, extension), extension, "video.id"),
    ):
        (fit,) = before.check(take, request).warnings
        assert fit.startswith("The base model's 64x64 fills 4096x64: 63 of its 64 rows are cut off")
        with pytest.raises(ApiError, match="serve.max_side") as refused:
            today.check(take, request)
        assert refused.value.param == param and source.id in refused.value.message


def test_only_computed_pixels_count_and_what_happens_to_another_shape_is_a_warning():
    """A square picture in a wide frame: bars cost nothing."""
    checker = RequestChecker(load_serve(overrides=["serve.max_cost=9000000"]), ToyBundle(), BUNDLE)
    wide = {"prompt": PROMPT, "size": "512x256", "num_frames": 32}  # 512x256x3x32 are 12.6 million, 256x256x3x32 6.3
    with pytest.raises(ApiError, match="512x256 pixels x 3 steps"):
        checker.new_take(VideoRequest(**wide), "")
    request = VideoRequest(**wide, fit="contain")
    take = checker.new_take(request, "")
    assert ("refiner.fit", "contain") in take.spec.settings
    (warning,) = checker.check(take, request).warnings
    assert "64x64 is refined at 256x256, with black bars around it up to 512x256 (fit=cover cuts" in warning


def test_a_request_may_ask_for_a_base_of_the_same_shape():
    request = VideoRequest(prompt=PROMPT, width=256, height=128, base_width=128, base_height=64)
    take = CHECKER.new_take(request, "")
    assert {("base.width", 128), ("base.height", 64)} <= set(take.spec.settings)
    assert CHECKER.check(take, request).warnings == [] and CHECKER.base_size(take) == (64, 128)
    assert json.loads(write_take(take))["base_width"] == 128


@pytest.mark.parametrize("value", ["fill", "", 3])
def test_an_unknown_fit_names_the_known_ones(value):
    error = post(json={"prompt": PROMPT, "fit": value}).json()["error"]
    assert error["param"] == "fit" and error["message"].endswith("must be cover or contain or stretch")


def of_upload(num_old, num_new, *overrides):
    """A checker, and a take that continues an uploaded video."""
    checker = RequestChecker(load_serve(overrides=overrides), ToyBundle(), BUNDLE)
    file = InputFile(kind=InputKind.VIDEO, num_bytes=9, width=64, height=64, num_frames=num_old, fps="8")
    return checker, replace(checker.new_take(VideoRequest(prompt=PROMPT), ""), num_frames=num_old + num_new, input=file)


def test_a_continuation_of_an_upload_needs_a_refiner_whenever_it_is_made():
    checker, take = of_upload(50, 32)
    checker.check(take, RemixRequest(prompt=PROMPT))
    today, _ = of_upload(50, 32, "refiner.enabled=false", "refiner.height=128", "refiner.width=128")
    with pytest.raises(ApiError, match="refiner.enabled=false: to extend a video"):
        today.check(today.remixed(take, PROMPT, ()), RemixRequest(prompt=PROMPT))


@pytest.mark.parametrize(
    ("frames", "unseen"), [((5,), [0]), ((5, 10), [0, 5]), ((50,), [0]), ((51,), []), ((55, 56), [55]), ((81,), [81])]
)
def test_a_remix_of_an_upload_warns_of_prompts_for_frames_that_exist(frames, unseen):
    checker, source = of_upload(50, 32)
    cues = tuple(Cue(frame, PROMPT) for frame in frames)
    found = checker.check(checker.remixed(source, PROMPT, cues), RemixRequest(prompt=PROMPT))
    assert found.unseen == unseen
    lines = [line for line in found.warnings if "has no effect" in line]
    assert [f"from frame {frame} on" in line for frame, line in zip(unseen, lines, strict=True)] == [True] * len(unseen)
