"""Valid and invalid requests for a video."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.domain.checks import FieldError
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec, change_prompt, chunk_prompt, never_shown, read_prompt
from tests.models.domain.test_plan import NUM_FRAMES, plan_params


def test_a_spec_asks_for_80_frames_unless_told():
    spec = PromptSpec("a", "a red circle")
    assert (spec.negative_prompt, spec.num_frames, spec.seed) == ("", 80, 0)


def test_equal_specs_stay_equal_after_a_pickle():
    spec = PromptSpec("a", "a red circle", "blurry", 1, 2**63 - 1)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len({spec, PromptSpec("a", "a red circle", "blurry", 1, 2**63 - 1)}) == 1


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("video_id", "", "empty"),
        ("video_id", 7, "string"),
        ("prompt", "", "empty"),
        ("prompt", " \n\t ", "blank"),
        ("prompt", None, "string"),
        ("negative_prompt", None, "string"),
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
def test_an_impossible_request_is_refused_with_field_value_and_rule(field, value, rule):
    asked = {"video_id": "a", "prompt": "a red circle", field: value}
    with pytest.raises(ValueError, match=rule) as refusal:
        PromptSpec(**asked)
    assert str(refusal.value).startswith(f"{field}={value!r}: ")


def with_cues(*frames, num_frames=80):
    cues = tuple(Cue(frame, f"from {frame}") for frame in frames)
    return PromptSpec("a", "from 0", num_frames=num_frames, cues=cues)


def test_the_prompt_at_a_frame_is_that_of_the_last_cue_before_it():
    spec = with_cues(20, 21, 40)
    assert pickle.loads(pickle.dumps(spec)) == spec and hash(spec) != hash(with_cues(20, 21))
    asked = {0: 0, 19: 0, 20: 20, 21: 21, 39: 21, 40: 40, 79: 40, 500: 40}
    assert {frame: spec.prompt_at(frame) for frame in asked} == {frame: f"from {cue}" for frame, cue in asked.items()}
    assert PromptSpec("a", "from 0").prompt_at(500) == "from 0"


def test_a_cue_takes_effect_at_the_first_chunk_that_starts_at_its_frame_or_after_it():
    plan = Plan(80, PlanParams())
    assert [chunk.start for chunk in plan.chunks[:5]] == [0, 16, 24, 32, 40]
    prompts = [chunk_prompt(with_cues(16, 17, 23, 32), plan, index) for index in range(5)]
    assert prompts == ["from 0", "from 16", "from 23", "from 32", "from 32"]


@given(NUM_FRAMES, plan_params(), st.data())
def test_never_shown_are_the_cues_of_no_frame(num_frames, params, data):
    frames = data.draw(st.sets(st.integers(1, max(1, num_frames - 1)), max_size=5)) if num_frames > 1 else set()
    spec, plan = with_cues(*sorted(frames), num_frames=num_frames), Plan(num_frames, params)
    shown = {chunk_prompt(spec, plan, plan.chunk_at(frame)) for frame in range(num_frames)}
    assert never_shown(spec, plan) == [cue for cue in spec.cues if cue.prompt not in shown]


@pytest.mark.parametrize(
    ("from_frame", "prompt", "reason"),
    [
        (0, "x", "from_frame=0: a later prompt begins at frame 1 or after it"),
        (-8, "x", "from_frame=-8: a later prompt begins at frame 1 or after it"),
        (8.0, "x", "from_frame=8.0: must be a whole number"),
        (True, "x", "from_frame=True: must be a whole number"),
        (8, " ", "prompt=' ': must not be empty or blank"),
        (8, None, "prompt=None: must be a string"),
    ],
)
def test_an_invalid_cue_is_refused(from_frame, prompt, reason):
    with pytest.raises(ValueError) as refusal:
        Cue(from_frame, prompt)
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ((40, 20), "prompt[2].from_frame=20: must be later than the prompt before it, which begins at 40"),
        ((40, 40), "prompt[2].from_frame=40: must be later than the prompt before it, which begins at 40"),
        ((79, 80), "prompt[2].from_frame=80: the video ends before it, at 80"),
        ((9000,), "prompt[1].from_frame=9000: the video ends before it, at 80"),
    ],
)
def test_cues_that_do_not_fit_are_refused(frames, reason):
    with pytest.raises(ValueError) as refusal:
        with_cues(*frames)
    assert str(refusal.value) == reason


@pytest.mark.parametrize("cues", [[Cue(8, "x")], ({"from_frame": 8, "prompt": "x"},), None])
def test_cues_are_a_tuple_of_cues(cues):
    with pytest.raises(ValueError, match="^cues=.*: must be a tuple of Cues$"):
        PromptSpec("a", "x", cues=cues)


@pytest.mark.parametrize("settings", [("a=1",), [("a", 1)], (("a", [1]),), (("a",),), ((1, 2),), None])
def test_settings_are_pairs_of_a_key_and_a_plain_value(settings):
    with pytest.raises(ValueError, match="^settings=.*: must be a tuple of pairs"):
        PromptSpec("a", "x", settings=settings)
    assert hash(PromptSpec("a", "x", settings=(("b.c", (1, 2.5)), ("b.d", None), ("b.e", "f"))))


def test_an_error_of_a_field_survives_a_pickle():
    error = pickle.loads(pickle.dumps(FieldError.of("seed", -1, "too small")))
    assert (str(error), error.field, error.problem) == ("seed=-1: too small", "seed", "=-1: too small")


def test_a_prompt_is_read_from_a_text_or_a_list():
    assert read_prompt("a red circle") == ("a red circle", ())
    assert read_prompt([{"from_frame": 0, "prompt": "a"}]) == ("a", ())
    entries = [{"prompt": "a", "from_frame": 0}, {"from_frame": 40, "prompt": "b"}, {"from_frame": 64, "prompt": "a"}]
    assert read_prompt(entries) == ("a", (Cue(40, "b"), Cue(64, "a")))


FIRST = {"from_frame": 0, "prompt": "a"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "prompt=5: must be a string, or a list of {from_frame, prompt}"),
        (None, "prompt=None: must be a string, or a list of {from_frame, prompt}"),
        ([], "prompt=[]: must be a string, or a list of {from_frame, prompt}"),
        (FIRST, "prompt={'from_frame': 0, 'prompt': 'a'}: must be a string, or a list of {from_frame, prompt}"),
        (["a"], "prompt[0]='a': must have the fields from_frame and prompt"),
        ([{"prompt": "a"}], "prompt[0].from_frame is missing"),
        ([FIRST, {"from_frame": 8}], "prompt[1].prompt is missing"),
        ([FIRST, {"from_frame": 8, "text": "b"}], "prompt[1].text='b': no such field; "),
        ([{"from_frame": 8, "prompt": "a"}], "prompt[0].from_frame=8: the first prompt begins at frame 0"),
        ([{"from_frame": -1, "prompt": "a"}], "prompt[0].from_frame=-1: must be at least 0"),
        ([FIRST, FIRST], "prompt[1].from_frame=0: must be later than the prompt before it, which begins at 0"),
        (
            [FIRST, {"from_frame": 40, "prompt": "b"}, {"from_frame": 24, "prompt": "c"}],
            "prompt[2].from_frame=24: must be later than the prompt before it, which begins at 40",
        ),
        ([FIRST, {"from_frame": "8", "prompt": "b"}], "prompt[1].from_frame='8': must be a whole number"),
        ([FIRST, {"from_frame": True, "prompt": "b"}], "prompt[1].from_frame=True: must be a whole number"),
        ([FIRST, {"from_frame": 8, "prompt": " "}], "prompt[1].prompt=' ': must not be empty or blank"),
        ([FIRST, {"from_frame": 8, "prompt": 7}], "prompt[1].prompt=7: must be a string"),
    ],
)
def test_an_invalid_prompt_is_refused_with_its_place_value_and_rule(value, reason):
    with pytest.raises(ValueError) as refusal:
        read_prompt(value)
    assert str(refusal.value).startswith(reason)


def test_a_prompt_that_is_not_utf8_is_refused():
    with pytest.raises(ValueError, match="^prompt=.*UTF-8"):
        PromptSpec("a", b"a red \xff circle".decode("utf-8", "surrogateescape"))


def test_a_changed_prompt_holds_from_the_first_chunk_that_is_left_up_to_the_next_cue():
    spec, plan = PromptSpec("v", "a", num_frames=26, cues=(Cue(16, "b"), Cue(25, "c"))), Plan(26, PlanParams())
    assert [chunk.start for chunk in plan.chunks] == [0, 16, 24, 32]
    assert change_prompt(spec, plan, 0, "x") == (0, PromptSpec("v", "x", num_frames=26, cues=spec.cues))
    frame, changed = change_prompt(spec, plan, 1, "x")
    assert (frame, changed.prompt, changed.cues) == (16, "a", (Cue(16, "x"), Cue(25, "c")))
    assert change_prompt(spec, plan, 2, "x")[1].cues == (Cue(16, "b"), Cue(24, "x"), Cue(25, "c"))
    for num_reached in (3, 4):  # the chunk from 32 has no frame of the video
        with pytest.raises(ValueError, match="^prompt='x': too late"):
            change_prompt(spec, plan, num_reached, "x")
    with pytest.raises(ValueError, match="empty or blank"):
        change_prompt(spec, plan, 0, " ")
