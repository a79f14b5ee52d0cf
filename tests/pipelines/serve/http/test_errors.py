"""Refusals name the field of the request."""

import pytest

from longtake.models.domain.checks import FieldError
from longtake.pipelines.config.conf import Conf, for_video
from longtake.pipelines.serve.http.errors import MAX_CHARS, ApiError, from_value_error
from longtake.pipelines.serve.http.schema import VideoRequest
from tests.support.http_asks import from_json


@pytest.mark.parametrize(
    ("setting", "param", "message"),
    [
        (("refiner.width", 7), "width", "width=7: must be even and at least 2"),
        (("video.fps", 241), "fps", "fps=241 must be between 1 and 240"),
        (("base.num_inference_steps", 0), "num_inference_steps", "num_inference_steps=0 must be at least 1"),
        (("refiner.coupling", "loose"), "coupling", "coupling=loose must be one of symmetric, causal"),
        (("refiner.strength", 7), "refiner.strength", "refiner.strength=7.0: must be above 0 and at most 1"),
    ],
)
def test_the_error_of_a_setting_has_the_name_of_its_field_in_a_request(setting, param, message):
    with pytest.raises(FieldError) as error:
        for_video(Conf(), (setting,))
    refusal = from_value_error(error.value)
    assert (refusal.status, refusal.param, refusal.message) == (400, param, message)


def test_an_error_of_no_field_is_repeated_in_one_line():
    refusal = from_value_error(ValueError("seconds=3:\n  too late"))
    assert (refusal.param, refusal.message) == (None, "seconds=3: too late")


def test_a_place_inside_a_field_is_named():
    with pytest.raises(ApiError) as refusal:
        from_json('{"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 0, "prompt": "b"}]}', VideoRequest)
    rule = "must be later than the prompt before it, which begins at 0"
    assert (refusal.value.param, refusal.value.message) == (
        "prompt[1].from_frame",
        f"prompt[1].from_frame=0: {rule}",
    )


def test_a_message_repeats_no_more_than_a_few_hundred_characters():
    error = ApiError(400, "invalid_value", "x" * 9000 + "\ud800")
    assert len(error.message) == MAX_CHARS and error.message.endswith("...")
