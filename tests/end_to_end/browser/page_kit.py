"""Helpers for tests of the page. Frame i of a toy is grey, 40 + i (modulo 100), with one bright column."""

import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from tests.support.http_kit import PROMPT, wait_for

LOOKS = (Path(__file__).parent / "looks.js").read_text()


class Page:
    """`tab` is Playwright's page; `errors` holds script errors and violations of the content security policy."""

    def __init__(self, tab):
        self.tab, self.errors = tab, []
        tab.add_init_script(LOOKS)
        tab.on("pageerror", lambda error: self.errors.append(f"{error}\n{getattr(error, 'stack', '')}"))
        tab.on("console", self._hear)

    def _hear(self, message):
        # The browser reports each refusal of the API as an error too; the page shows them, which is what is tested.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def make(self, prompt=PROMPT, **settings):
        """Fills in the form and submits it; returns the id of the video."""
        self.tab.fill("#prompt", prompt)
        if settings:
            self.tab.eval_on_selector("#settings", "details => { details.open = true; }")
        for name, value in settings.items():
            field = f"#{name}"
            self.tab.select_option(field, value) if name == "coupling" else self.tab.fill(field, str(value))
        before = self.id
        self.tab.click("#go")
        self.tab.wait_for_function(
            "before => location.hash.length > 1 && location.hash.slice(1) !== before", arg=before
        )
        return self.id

    @property
    def id(self):
        """The id of the video on the screen, from the URL; empty if there is none."""
        found = re.search(r"#(video_[0-9a-f]{32})$", self.tab.url)
        return found[1] if found else ""

    @property
    def shown(self):
        """`low`, `fine`, or an empty text while there is no picture."""
        return self.tab.get_attribute("#stage", "data-shown") or ""

    def wait_state(self, *states):
        """Waits for a state of the screen: empty, queued, in_progress, completed, failed or cancelled."""
        self.tab.wait_for_function(
            "states => states.includes(document.getElementById('screen').dataset.state)", arg=list(states)
        )

    def wait_shown(self, *names):
        self.tab.wait_for_function(
            "names => names.includes(document.getElementById('stage').dataset.shown)", arg=list(names)
        )

    def grey(self, name):
        return self.tab.evaluate("name => looks.grey(name)", name)

    def wait_grey(self, name, frame):
        """Waits until this video shows this frame of a toy."""
        try:
            self.tab.wait_for_function("([name, grey]) => looks.grey(name) === grey", arg=[name, 40 + frame % 100])
        except Exception as error:
            raise AssertionError(f"{name} shows {self.grey(name)}, not frame {frame}") from error

    def cells(self, row):
        """The states of a row of the timeline: chunks, windows or segments."""
        return self.tab.eval_on_selector_all(f"#{row} i", "cells => cells.map(cell => cell.dataset.state)")

    def pictures(self):
        """The states of the pictures on the film strip: empty, low or fine."""
        return self.tab.eval_on_selector_all("#frames canvas", "all => all.map(one => one.dataset.state)")

    def seek(self, frame):
        self.tab.evaluate("frame => looks.seek(frame)", frame)

    def wait_developed(self):
        """Waits until all pictures of the film strip are refined."""
        self.tab.wait_for_function("() => looks.isDeveloped()")

    def wait_holds(self, seconds):
        """Waits until the first `seconds` of the refined video are buffered without a gap."""
        self.tab.wait_for_function("seconds => looks.holds(seconds)", arg=seconds)

    def wait_text(self, field, text):
        self.tab.wait_for_function(
            "([id, text]) => document.getElementById(id).textContent === text", arg=[field, text]
        )

    def focused(self):
        """The id of the focused element."""
        return self.tab.evaluate("document.activeElement.id")


class Front:
    """An app whose API gives `answer(path)`, a response, while that is set: an endpoint that stops or starts."""

    def __init__(self, app):
        self.app, self.answer = app, None

    async def __call__(self, scope, receive, send):
        is_api = scope["type"] == "http" and scope["path"].startswith(("/v1", "/health"))
        target = self.answer(scope["path"]) if self.answer and is_api else self.app
        await target(scope, receive, send)


@contextmanager
def served_at(app, port):
    """Serves the app on a given port, like an endpoint that returns."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def status_of(kit, video_id):
    return kit.takes.get(video_id).status


def wait_status(kit, video_id, *statuses, timeout_s=60):
    until = time.monotonic() + timeout_s
    while status_of(kit, video_id) not in statuses:
        assert time.monotonic() < until, status_of(kit, video_id)
        time.sleep(0.02)
