"""A real browser and a real endpoint on toy stages. Without a browser these tests are skipped.

Playwright's driver leaves an event loop running in the thread that started it, for as long as it is open; there
`asyncio.run` fails, for every test that comes after. So it has a thread of its own, and these tests run in that one.
"""

import asyncio
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.end_to_end.browser.page_kit import Page
from tests.support.http_kit import running

# The headless shell has no window to draw: these tests take 60 s of CPU with it where the whole browser takes 85.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
ARGS = ["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]
_thread = ThreadPoolExecutor(1, thread_name_prefix="browser")


def in_thread(work, *args, **options):
    """Runs `work` in Playwright's thread; returns its value or raises its error."""
    return _thread.submit(work, *args, **options).result()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    test = pyfuncitem.obj
    pyfuncitem.obj = lambda **given: in_thread(test, **given)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium; as root it needs --no-sandbox."""
    if CHROMIUM is None:
        pytest.skip("there is no browser: apt-get install chromium-headless-shell, or CHROMIUM=/path/to/one")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: it is in the extra dev"
    )
    driver = in_thread(playwright.sync_playwright().start)
    chromium = in_thread(driver.chromium.launch, executable_path=CHROMIUM, args=ARGS)
    asyncio.run(asyncio.sleep(0))  # as those who come after do
    yield chromium
    in_thread(chromium.close)
    in_thread(driver.stop)


@pytest.fixture(scope="session")
def kit(browser, ray_cluster, tmp_path_factory):
    """An endpoint with calls slow enough to observe."""
    folder = tmp_path_factory.mktemp("page")
    with running(
        folder, "serve.in_flight=3", "serve.requests_per_minute=100000", seconds=0.25, fail_prompt="a raise"
    ) as kit:
        yield kit


@pytest.fixture
def open_page(browser):
    """`open_page(url, init="", **context)`: a page in its own browser context. Fails if the page had an error."""
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
        in_thread(context.close)
    assert not errors


@pytest.fixture
def page(open_page, kit):
    def open_one():
        page = open_page(kit.url)
        page.tab.wait_for_selector("#served:not(:empty)")
        return page

    return in_thread(open_one)
