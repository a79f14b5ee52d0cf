"""PromptSpec: what may be asked, and what is said of the rest."""

import pickle

import pytest

from models.prompt import PromptSpec


def test_a_spec_asks_for_80_frames_unless_told():
    spec = PromptSpec("a", "a red circle")
    assert (spec.negative_prompt, spec.num_frames, spec.seed) == ("", 80, 0)


def test_specs_that_ask_the_same_are_the_same_also_after_a_journey():
    spec = PromptSpec("a", "a red circle", "blurry", 1, 2**63 - 1)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len({spec, PromptSpec("a", "a red circle", "blurry", 1, 2**63 - 1)}) == 1


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("video_id", "", "empty"),
        ("video_id", 7, "text"),
        ("prompt", "", "empty"),
        ("prompt", " \n\t ", "blank"),
        ("prompt", None, "text"),
        ("negative_prompt", None, "text"),
        ("num_frames", 0, "at least 1 frame"),
        ("num_frames", -3, "at least 1 frame"),
        ("num_frames", 80.0, "whole number"),
        ("num_frames", "eighty", "whole number"),
        ("num_frames", True, "whole number"),
        ("seed", -1, "at least 0"),
        ("seed", 2**63, "2\\*\\*63"),
        ("seed", 0.5, "whole number"),
    ],
)
def test_what_cannot_be_made_is_refused_with_field_value_and_rule(field, value, rule):
    asked = {"video_id": "a", "prompt": "a red circle", field: value}
    with pytest.raises(ValueError, match=rule) as refusal:
        PromptSpec(**asked)
    assert str(refusal.value).startswith(f"{field}={value!r}: ")
