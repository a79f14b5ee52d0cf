"""The form, its errors, and the actions on earlier videos."""

import json
import socket
import subprocess
from contextlib import contextmanager

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse

from longtake.pipelines.serve.http.errors import not_found, unavailable
from tests.end_to_end.browser.page_kit import Front, served_at, wait_status
from tests.support.http_kit import PROMPT, running

pytestmark = pytest.mark.xdist_group("serve")
KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="module")
def small(browser, ray_cluster, tmp_path_factory):
    """An endpoint with an API key, one video in progress and no queue."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "keys").write_text(KEY)
    with running(
        folder, f"serve.keys_file={folder}/keys", "serve.in_flight=1", "serve.max_running_per_key=1", seconds=0.3
    ) as kit:
        yield kit


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
    assert said.startswith("100") and "16" in said and "width" not in said

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


def test_words_that_the_model_does_not_know_are_named(page):
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


def test_a_video_that_is_not_there_is_said(open_page, kit):
    page = open_page(f"{kit.url}/#video_{'0' * 32}")
    page.wait_text("leader-text", "There is no video at this address. It may have been deleted.")
    assert page.id == ""
    page.tab.evaluate("location.hash = '#video_of-another-time'")
    page.wait_text("leader-text", "There is no video at this address.")
    page.tab.evaluate("location.hash = ''")
    page.wait_text("leader-text", "The video appears here while it is generated.")


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

    last = page.make("a red circle")
    page.wait_state("completed")
    with kit.client() as client:
        client.delete(f"/v1/videos/{last}")
    page.tab.evaluate("looks.hide(false)")  # the tab is chosen again
    page.wait_text("leader-text", "The video was deleted.")
    assert page.id == ""


def test_a_key_is_asked_for_once_and_a_full_endpoint_counts_down(open_page, small):
    page = open_page(small.url)
    page.tab.wait_for_selector("#login:not([hidden])")
    assert page.focused() == "key"
    page.tab.fill("#key", "not the key that is known")
    page.tab.press("#key", "Enter")
    page.tab.wait_for_selector("#key-error:not(:empty)")
    page.tab.fill("#key", KEY)
    page.tab.press("#key", "Enter")
    page.tab.wait_for_selector("#login", state="hidden")
    page.tab.wait_for_selector("#served:not(:empty)")
    page.make(num_frames=240)
    page.wait_shown("low")
    assert "LONGTAKE_KEY" in page.tab.text_content("#curl-text")
    assert KEY not in page.tab.content()
    page.tab.click("#go")
    page.tab.wait_for_selector("#make-error:not(:empty)")
    waits = page.tab.inner_text("#go")
    assert waits.startswith("Try again in ") and page.tab.is_disabled("#go")
    page.tab.wait_for_function("before => document.getElementById('go').textContent !== before", arg=waits)
    page.tab.click("#actions button:text('Cancel')")
    page.wait_state("cancelled")
    page.tab.wait_for_selector("#go:not([disabled])", timeout=4000)  # not at the end of the count: there is a place now
    assert page.tab.inner_text("#go") == "Make video"
    page.tab.click("#sign-out")
    page.tab.wait_for_selector("#login:not([hidden])")


def no_routes(path):
    return PlainTextResponse(f"Path '{path}' not found. Ping http://.../-/routes for available routes.", 404)


def knows_nothing(path):
    return (
        not_found(path.split("/")[3]).response()
        if path.startswith("/v1/videos/")
        else unavailable("starting").response()
    )


@pytest.mark.report("A3")
def test_a_connection_that_is_lost_comes_back_by_itself(open_page, kit):
    """The server is gone, then another one answers for it, then the endpoint starts, and is back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    front = Front(kit.app)
    with served_at(front, port) as url:
        page = open_page(url)
        page.tab.wait_for_selector("#served:not(:empty)")
        video_id = page.make(num_frames=80)
        page.tab.wait_for_function("() => document.querySelector('#segments i[data-state=done]')")
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert "Connection lost. Trying again" in page.tab.inner_text("#trouble-text")
    page.tab.click("#trouble-now")  # too early
    page.tab.wait_for_function("() => /again in \\d+ s/.test(document.getElementById('trouble-text').textContent)")
    page.tab.fill("#prompt", "a circle")
    front.answer = no_routes
    with served_at(front, port):
        says = "text => document.getElementById('trouble-text').textContent.includes(text)"
        page.tab.click("#trouble-now")
        page.tab.wait_for_function(says, arg="is away (status 404)")
        assert page.shown, "the picture stays"
        page.tab.click("#go")
        page.wait_text("make-error", "The endpoint is away (status 404).")
        page.tab.reload()
        page.tab.wait_for_function(says, arg="is away (status 404)")
        front.answer = knows_nothing
        page.tab.click("#trouble-now")
        page.tab.wait_for_function(says, arg="starting")
        front.answer = lambda path: HTMLResponse("<h1>Sign in to this network</h1>")
        page.tab.click("#trouble-now")
        page.tab.wait_for_function(says, arg="is away (status 200)")
        assert page.id == video_id
        assert page.tab.input_value("#prompt") == "a circle"
        front.answer = None
        page.tab.click("#trouble-now")
        page.tab.wait_for_selector("#trouble", state="hidden")
        page.wait_state("completed")
        assert page.id == video_id
        page.wait_holds(10)
        assert set(page.cells("segments")) == {"done"}
        page.tab.goto("about:blank")


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
    """A quick "Extend" would extend the previous video."""
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


def test_a_key_that_is_given_late_does_not_bring_back_what_was_left(open_page, kit):
    """The events of a video require a key, which is entered after the video was left."""
    page = open_page(kit.url)
    page.tab.wait_for_selector("#served:not(:empty)")
    first = page.make(num_frames=16)
    page.wait_state("completed")
    page.tab.goto("about:blank")
    refused = {"error": {"message": "a key is missing", "code": "invalid_api_key", "param": None, "type": "x"}}
    page.tab.route("**/login", lambda route: route.fulfill(status=204))
    page.tab.route("**/events", lambda route: route.fulfill(status=401, json=refused))
    page.tab.goto(f"{kit.url}/#{first}")
    page.tab.wait_for_selector("#login:not([hidden])")
    page.tab.evaluate("location.hash = ''")
    page.wait_state("empty")
    page.tab.unroute("**/events")
    page.tab.fill("#key", "k")
    page.tab.press("#key", "Enter")
    page.tab.wait_for_selector("#login", state="hidden")
    page.tab.wait_for_timeout(300)
    assert page.tab.get_attribute("#screen", "data-state") == "empty"
