"""A real browser and a real endpoint on toy stages. Without a browser these tests are skipped, and say so."""

import os
import shutil

import pytest

from tests.browser.page_kit import Page
from tests.http_kit import running

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, which has no sandbox when root runs it."""
    if CHROMIUM is None:
        pytest.skip("there is no browser: apt-get install chromium, or CHROMIUM=/path/to/one")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: it is in the extra dev"
    )
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def kit(browser, ray_cluster, tmp_path_factory):
    """An endpoint whose calls take long enough to look at what they do."""
    folder = tmp_path_factory.mktemp("page")
    with running(
        folder, "serve.in_flight=3", "serve.requests_per_minute=100000", seconds=0.25, fail_prompt="a raise"
    ) as kit:
        yield kit


@pytest.fixture
def open_page(browser):
    """`open_page(url, init="", **context)`: a page in a browser context of its own; in the end it has had no error."""
    contexts, pages = [], []

    def open_one(url, init="", **context):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        contexts[-1].set_default_timeout(30_000)
        page = Page(contexts[-1].new_page())
        pages.append(page)
        if init:
            page.tab.add_init_script(init)
        page.tab.goto(url)
        return page

    yield open_one
    errors = [error for page in pages for error in page.errors]
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(open_page, kit):
    page = open_page(kit.url)
    page.tab.wait_for_selector("#served:not(:empty)")
    return page
