"""Which video is on the screen, and the actions on earlier videos."""

from contextlib import contextmanager

import pytest

from tests.end_to_end.browser.page_kit import wait_status
from tests.support.http_kit import PROMPT

pytestmark = pytest.mark.xdist_group("serve")


@contextmanager
def held_answer(page, video_id):
    """Holds the page's next request for this video and answers it at the end of the block."""
    address, held = f"**/v1/videos/{video_id}", []
    page.tab.route(address, lambda route: held.append(route), times=1)
    yield
    for _ in range(500):
        if held:
            break
        page.tab.wait_for_timeout(20)
    assert held, f"the page has not asked after {video_id}"
    with page.tab.expect_response(address):
        held[0].continue_()


def test_a_video_that_is_not_there_is_said(open_page, kit):
    page = open_page(f"{kit.url}/#video_{'0' * 32}")
    page.wait_text("leader-text", "There is no video at this address. It may have been deleted.")
    assert page.id == ""
    page.tab.evaluate("location.hash = '#video_of-another-time'")
    page.wait_text("leader-text", "There is no video at this address.")
    page.tab.evaluate("location.hash = ''")
    page.wait_text("leader-text", "The video appears here while it is generated.")


@pytest.mark.report("A7")
def test_what_was_deleted_elsewhere_is_let_go(page, kit):
    """The source of a remix, the source of an extension, and the video on the screen."""
    first = page.make(num_frames=16, seed=3)
    page.wait_state("completed")
    page.tab.click("#actions button:text('Remix')")
    page.tab.click("#actions button:text('Extend')")
    with kit.client() as client:
        assert client.delete(f"/v1/videos/{first}").status_code == 200
    page.tab.click("#ask-extend .main")
    page.wait_text("extend-error", "This video was deleted, so it cannot be extended.")
    page.tab.click("#extend-no")
    page.tab.evaluate("looks.hide(false)")  # the tab is chosen again
    page.wait_text("leader-text", "The video was deleted.")
    assert page.id == "" and page.tab.is_visible("#leader-text")
    other = page.make("a circle moves right")
    take = kit.takes.get(other)
    assert (take.remixed_from, take.seed, take.num_frames, take.prompt) == (None, 3, 16, "a circle moves right")
    assert "was deleted" in page.tab.inner_text("#make-note")
    assert page.tab.is_hidden("#origin")
    page.wait_state("completed")
    page.tab.click("#actions button:text('Remix')")
    with kit.client() as client:
        assert client.delete(f"/v1/videos/{other}").status_code == 200
    page.tab.click(f"#shelf li[data-id={other}] button:text('Delete')")
    page.tab.click("#ask-delete button.main")  # it is gone already
    page.wait_text("leader-text", "The video was deleted.")
    page.tab.wait_for_selector(f"#shelf li[data-id={other}]", state="detached")
    assert page.tab.inner_text("#shelf-error") == ""
    assert page.tab.is_hidden("#origin") and page.tab.input_value("#seed") == "3"


def test_an_earlier_video_is_played_remixed_extended_and_deleted(page, kit):
    first = page.make(num_frames=24, seed=11)
    page.wait_state("completed")
    card = f"#shelf li[data-id={first}]"
    page.tab.wait_for_function("at => document.querySelector(at + ' img')?.naturalWidth > 0", arg=card)

    page.tab.click(f"{card} button:text('Remix')")
    assert page.tab.input_value("#seed") == "11"
    assert page.tab.is_visible("#origin")
    remix = page.make("a circle moves right")
    take = kit.takes.get(remix)
    assert (take.remixed_from, take.seed, take.num_frames) == (first, 11, 24)
    page.wait_state("completed")

    page.tab.click(f"{card} a.card")
    page.tab.wait_for_selector(f"{card}[aria-current]")  # until then the screen may still have the remix
    page.wait_shown("fine")
    page.tab.click("#actions button:text('Extend')")
    page.tab.fill("#extend-prompt", "a red circle")
    page.tab.fill("#extend-frames", "0")
    page.tab.click("#ask-extend .main")
    page.tab.wait_for_selector("#extend-frames-error:not(:empty)")
    page.tab.fill("#extend-frames", "16")
    page.tab.click("#ask-extend .main")
    page.tab.wait_for_function("id => location.hash !== '#' + id", arg=first)
    extension = kit.takes.get(page.id)
    assert (extension.extends, extension.num_frames) == (first, 40)
    page.wait_state("completed")

    page.tab.click(f"{card} button:text('Delete')")
    page.tab.click("#ask-delete button:text('Keep it')")
    assert kit.takes.get(first)
    page.tab.click(f"{card} button:text('Delete')")
    page.tab.click("#ask-delete button.main")
    page.tab.wait_for_selector(card, state="detached")
    assert first not in {take.id for take in kit.takes.all()}


def test_the_buttons_of_a_video_go_as_soon_as_another_one_is_chosen(page):
    """Otherwise a quick click on "Extend" would extend the previous video."""
    first = page.make(num_frames=16, seed=3)
    page.wait_state("completed")
    page.make("a circle moves right")
    page.wait_state("completed")
    page.tab.wait_for_selector("#actions button:text('Extend')")
    with held_answer(page, first):
        page.tab.click(f"#shelf li[data-id={first}] a.card")
        page.tab.wait_for_selector("#actions button", state="detached")
    page.tab.wait_for_selector("#actions button:text('Extend')")
    assert page.id == first


def test_what_becomes_of_a_video_does_not_bring_its_buttons_back(page, kit):
    first = page.make(num_frames=16, seed=3)
    page.wait_state("completed")
    running = page.make("a circle moves right", num_frames=48)
    with held_answer(page, first):
        page.tab.click(f"#shelf li[data-id={first}] a.card")
        wait_status(kit, running, "completed")
        page.wait_text("status", "Finished.")
        assert page.tab.query_selector("#actions button") is None
    page.wait_text("caption", PROMPT)
    page.tab.wait_for_selector("#actions button:text('Extend')")
    page.tab.wait_for_selector(f"#shelf li[data-id={first}][aria-current]")


def test_settings_that_are_changed_make_a_new_video_and_no_remix(page, kit):
    first = page.make(num_frames=16, seed=3)
    page.wait_state("completed")
    page.tab.click("#actions button:text('Remix')")
    other = page.make(seed=4)
    assert kit.takes.get(other).remixed_from is None
    assert kit.takes.get(first).seed == 3


def test_the_back_button_goes_to_the_video_before(page):
    first = page.make(num_frames=16)
    page.wait_state("completed")
    page.make("a circle moves", num_frames=16)
    page.tab.go_back()
    page.tab.wait_for_function("id => location.hash === '#' + id", arg=first)
    page.wait_text("caption", PROMPT)
    page.tab.go_back()
    page.wait_state("empty")


def test_an_answer_that_is_overtaken_shows_nothing(page):
    """Back, and back again before the first response."""
    first = page.make(num_frames=16)
    page.wait_state("completed")
    page.make("a circle moves", num_frames=16)
    page.wait_state("completed")
    with held_answer(page, first):
        page.tab.go_back()
        page.tab.wait_for_selector("#actions button", state="detached")
        page.tab.go_back()
        page.wait_state("empty")
    page.tab.wait_for_timeout(300)  # the answer is here: a screen that took it would show it by now
    assert page.tab.get_attribute("#screen", "data-state") == "empty"


def test_a_video_that_is_deleted_while_it_is_on_its_way_is_not_waited_for(page):
    first = page.make(num_frames=16)
    page.wait_state("completed")
    page.make("a circle moves", num_frames=16)
    page.wait_state("completed")
    with held_answer(page, first):
        page.tab.click(f"#shelf li[data-id={first}] a.card")
        page.tab.wait_for_selector("#actions button", state="detached")
        page.tab.click(f"#shelf li[data-id={first}] button:text('Delete')")
        page.tab.click("#ask-delete button.main")
        page.wait_text("leader-text", "The video was deleted.")
    page.tab.wait_for_timeout(300)
    assert page.tab.inner_text("#leader-text") == "The video was deleted."
