"""The form: its errors, its warnings, what a reload keeps, and its request with curl."""

import json
import subprocess

import pytest

from tests.end_to_end.browser.page_kit import wait_status
from tests.support.http_kit import PROMPT

pytestmark = pytest.mark.xdist_group("serve")


@pytest.mark.parametrize(
    "prompt, said", [("", "empty"), ("a " * 30, "tokens")], ids=["an empty one", "one that is too long"]
)
def test_a_bad_prompt_is_said_beside_it(page, prompt, said):
    page.tab.fill("#prompt", prompt)
    page.tab.click("#go")
    page.tab.wait_for_selector("#prompt-error:not(:empty)")
    assert said in page.tab.inner_text("#prompt-error")
    assert page.tab.get_attribute("#prompt", "aria-invalid") == "true"
    assert page.focused() == "prompt"
    assert "prompt-error" in page.tab.get_attribute("#prompt", "aria-describedby")
    page.tab.type("#prompt", "a")
    assert page.tab.get_attribute("#prompt", "aria-invalid") is None, "it goes when the text changes"


def test_a_bad_setting_is_said_below_its_field(page):
    page.tab.fill("#prompt", PROMPT)
    page.tab.click("#settings summary")
    page.tab.fill("#num_frames", "99999")
    page.tab.click("#settings summary")
    page.tab.click("#go")
    page.tab.wait_for_selector("#num_frames-error:not(:empty)")
    said = page.tab.inner_text("#num_frames-error")
    assert said.startswith("99999") and "num_frames" not in said, "its name is above it"
    assert page.focused() == "num_frames"
    assert page.tab.get_attribute("#num_frames", "aria-describedby") == "num_frames-error"
    assert page.tab.inner_text("#make-error") == ""
    page.tab.fill("#num_frames", "16")
    assert page.tab.inner_text("#num_frames-error") == ""

    page.tab.fill("#width", "100")
    page.tab.click("#go")
    page.tab.wait_for_selector("#height-error:not(:empty)")
    page.tab.fill("#height", "32")
    page.tab.click("#go")
    page.tab.wait_for_selector("#width-error:not(:empty)")
    said = page.tab.inner_text("#width-error")
    assert said.startswith("100") and "96 or 104" in said and "width" not in said

    page.tab.fill("#width", "")
    page.tab.fill("#height", "")
    page.tab.fill("#seed", "0.5")
    page.tab.fill("#fps", "7.5")
    page.tab.click("#add-cue")
    page.tab.click("#go")
    assert page.tab.inner_text("#seed-error") == "0.5 is not a whole number."
    assert page.tab.inner_text("#fps-error") == "7.5 is not a whole number."
    assert "remove this prompt" in page.tab.inner_text("#cues .wrong")
    assert page.focused() == page.tab.get_attribute("#cues textarea", "id"), "the first one"


def test_a_message_below_its_field_does_not_repeat_the_name(page):
    says = [
        ("width: width 100 must be a multiple of 16", "width", "100 must be a multiple of 16"),
        ("width=100: must be a multiple of 16", "width", "100: must be a multiple of 16"),
        ("prompt has 30 tokens: at most 22", "prompt", "It has 30 tokens: at most 22"),
        ("prompt[1].from_frame=500: too late", "prompt[1].from_frame", "500: too late"),
        ("the queue is full", None, "The queue is full"),
        ("wide videos are refused", "width", "Wide videos are refused"),
    ]
    found = page.tab.evaluate(
        "async all => { const {withoutName} = await import('./fields.js');"
        " return all.map((one) => withoutName(...one)); }",
        [[message, param] for message, param, _ in says],
    )
    assert found == [expected for _, _, expected in says]


def test_a_later_prompt_that_comes_too_late_is_marked_in_its_row(page):
    page.tab.fill("#prompt", PROMPT)
    page.tab.click("#add-cue")
    page.tab.fill("#cues textarea", "a circle")
    page.tab.fill("#cues input", "500")
    page.tab.click("#go")
    page.tab.wait_for_selector("#cues input[aria-invalid]")
    assert "500" in page.tab.inner_text("#cues .wrong")


def test_words_that_the_model_does_not_know_are_named_before_and_after_the_start(page):
    page.tab.fill("#prompt", "a red zebra moves")
    page.tab.wait_for_selector("#prompt-words:not([hidden])")
    assert "zebra" in page.tab.inner_text("#prompt-words")
    assert page.tab.get_attribute("#prompt", "aria-invalid") is None, "it can be made"
    page.tab.fill("#prompt", "a red circle moves")
    page.tab.wait_for_selector("#prompt-words", state="hidden")
    page.make("a red zebra moves", num_frames=16)
    assert "zebra" in page.tab.inner_text("#warnings")
    page.wait_state("completed")
    assert "zebra" in page.tab.inner_text("#warnings")


def test_a_video_that_fails_says_why(page):
    page.make("a raise", num_frames=16)
    page.wait_state("failed")
    assert page.tab.inner_text("#status") == "This video failed."
    page.tab.wait_for_selector("#reason:not(:empty)")  # the event says that it failed, the next answer why
    assert "the toy does not like it" in page.tab.inner_text("#reason")


def test_a_reload_keeps_the_form_whatever_was_stored(page):
    page.tab.fill("#prompt", PROMPT)
    page.tab.click("#add-cue")
    page.tab.fill("#cues textarea", "a circle")
    page.tab.click("#settings summary")
    page.tab.fill("#num_frames", "48")
    page.tab.select_option("#coupling", "symmetric")
    page.tab.fill("#negative_prompt", "a ring")
    fields = ("#prompt", "#cues input", "#cues textarea", "#num_frames", "#coupling", "#negative_prompt", "#seed")
    before = [page.tab.input_value(field) for field in fields]
    page.tab.reload()
    page.tab.wait_for_selector("#served:not(:empty)")
    assert [page.tab.input_value(field) for field in fields] == before
    assert page.tab.is_visible("#num_frames")
    old = {
        "prompt": "a red circle",
        "cues": [{"at": 3}, None],
        "settings": {"fps": "x", "seed": [1], "coupling": "loose"},
    }
    for text, prompt in (("{", ""), ("3", ""), (json.dumps({**old, "source": 7, "theme": "dark"}), "a red circle")):
        page.tab.evaluate("text => sessionStorage.setItem('longtake form', text)", text)
        page.tab.reload()
        page.tab.wait_for_selector("#served:not(:empty)")
        assert page.tab.input_value("#prompt") == prompt
    assert [page.tab.input_value(f"#{name}") for name in ("fps", "seed", "coupling")] == ["", "", "causal"]
    assert page.tab.is_hidden("#origin")


def test_the_curl_command_does_the_same(page, kit):
    page.make("a circle moves right", num_frames=16, seed=5)
    text = page.tab.text_content("#curl-text")
    command, _, watch = text.partition("\n\n")
    answer = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60).stdout)
    assert (answer["prompt"], answer["seed"], answer["num_frames"]) == ("a circle moves right", 5, 16)
    assert f"/v1/videos/{page.id}/stream" in watch
    wait_status(kit, answer["id"], "completed")
    made = [
        kit.takes.store.get(f"takes/{one}/video.mp4")
        for one in (page.id, answer["id"])
        if not wait_status(kit, one, "completed")
    ]
    assert made[0] == made[1]


def test_a_quote_in_a_prompt_survives_the_shell(page):
    page.make("a circle's 'red' $HOME", num_frames=16)
    command = page.tab.text_content("#curl-text").partition("\n\n")[0]
    answer = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60).stdout)
    assert answer["prompt"] == "a circle's 'red' $HOME"
