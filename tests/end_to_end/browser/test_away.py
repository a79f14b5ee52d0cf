"""An endpoint that is away, full, or asks for a key."""

import socket

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse

from longtake.pipelines.serve.http.errors import unavailable
from tests.end_to_end.browser.page_kit import Front, served_at
from tests.support.http_kit import running

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


def starts(path):
    return unavailable("starting").response()


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
        page.tab.reload()
        page.tab.wait_for_function(says, arg="is away (status 404)")
        page.tab.click("#go")
        page.wait_text("make-error", "The endpoint is away (status 404).")
        front.answer = starts
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
        page.wait_text("make-error", "")
        page.wait_state("completed")
        assert page.id == video_id
        page.wait_holds(10)
        assert set(page.cells("segments")) == {"done"}
        page.tab.goto("about:blank")


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
