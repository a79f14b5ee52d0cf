"""Accessibility of the page: keyboard, screen readers, both colour schemes, phones."""

import re

import pytest

from tests.end_to_end.browser.page_kit import status_of
from tests.support.http_kit import PROMPT

pytestmark = pytest.mark.xdist_group("serve")
PHONE = {"viewport": {"width": 380, "height": 800}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def luminance(color):
    """Relative luminance by WCAG 2.2, of `rgb(1, 2, 3)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, paper):
    high, low = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_right():
    assert contrast("rgb(255, 255, 255)", "rgb(0, 0, 0)") == 21
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_texts_can_be_read_and_controls_have_names(open_page, kit, light, size):
    page = open_page(kit.url, color_scheme=light, **(PHONE if size == "phone" else {}))
    page.tab.wait_for_selector("#served:not(:empty)")
    for state in ("empty", "in_progress", "completed", "failed"):
        if state == "in_progress":
            page.tab.click("#add-cue")
            page.tab.fill("#cues textarea", "a circle")
            page.make(num_frames=40)
            page.wait_shown("low")
            page.tab.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
        if state == "failed":
            page.tab.click("#cues button")
            page.make("a raise")
        page.wait_state(state)
        assert page.tab.evaluate("looks.faults()") == [], state
        texts = page.tab.evaluate("looks.texts()")
        assert len(texts) > 15
        for text, ink, paper, is_large in texts:
            assert contrast(ink, paper) >= (3 if is_large else 4.5), (state, text, ink, paper)
        width = page.tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{state}: the page can be pushed sideways"


def test_everything_goes_by_keyboard(page, kit):
    def tab_to(name):
        for _ in range(80):
            page.tab.keyboard.press("Tab")
            found, is_seen = page.tab.evaluate("looks.focus()")
            assert is_seen, f"{found}: where the focus is cannot be seen"
            if found.startswith(name):
                return
        raise AssertionError(f"Tab does not come to {name}")

    tab_to("prompt")
    page.tab.keyboard.type(PROMPT)
    tab_to("Settings")
    page.tab.keyboard.press("Enter")
    tab_to("num_frames")
    page.tab.keyboard.type("240")
    page.tab.keyboard.press("Control+Enter")
    page.wait_shown("low")
    video_id = page.id
    tab_to("play")
    page.tab.keyboard.press("Space")
    assert page.tab.get_attribute("#play", "aria-label") == "Play"
    tab_to("seek")
    page.tab.keyboard.press("Home")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_selector("#seek[aria-valuetext^='frame 2 of 240']", state="attached")
    page.wait_grey(page.shown, 2)
    tab_to("Cancel")
    page.tab.keyboard.press("Enter")
    page.wait_state("cancelled")
    assert status_of(kit, video_id) == "failed"
    assert page.tab.evaluate("document.activeElement.textContent") == "Remix", "the focus stays where the button was"


def test_what_happens_is_read_aloud(page):
    page.tab.evaluate(
        "() => { window.said = []; new MutationObserver(() => said.push(document.getElementById('status').textContent))"
        ".observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true}); }"
    )
    page.make(num_frames=40)
    page.wait_state("completed")
    said = page.tab.evaluate("said")
    assert page.tab.get_attribute("#status", "aria-live") == "polite"
    assert said[-1] == "Finished."
    assert "The preview is playing. The refined picture follows." in said
    assert len(said) <= 8, "not every number is read out"


def test_on_a_phone_the_player_comes_into_view(open_page, kit):
    page = open_page(kit.url, **PHONE)
    page.tab.wait_for_selector("#served:not(:empty)")
    above = "() => ['stage', 'make'].map((id) => document.getElementById(id).getBoundingClientRect().top)"
    stage, form = page.tab.evaluate(above)
    assert stage < form < 400, "small, while it is empty"
    page.make(num_frames=40)
    stage, form = page.tab.evaluate(above)
    assert stage < form
    page.wait_shown("low", "fine")
    page.tab.wait_for_function("() => looks.isInView('stage')")
