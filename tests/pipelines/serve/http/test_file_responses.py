"""Files of a take, and of the page, as responses."""

import time

import pytest

from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.paths import fragment_name, path_of
from tests.support.http_asks import Desk, refusal


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.mark.parametrize(("asked", "first", "last"), [("bytes=0-11", 0, 11), ("bytes=3-4", 3, 4), ("bytes=7-", 7, 11)])
def test_a_range_may_go_from_one_file_to_the_next(desk, asked, first, last):
    take = desk.add(fragments=3)
    response = desk.get(f"/v1/videos/{take.id}/stream", headers={"Range": asked})
    assert response.content == b"000000010002"[first : last + 1]
    assert response.headers["content-range"] == f"bytes {first}-{last}/12"


def test_a_stream_that_goes_on_is_another_file(desk):
    take = desk.add(fragments=3)
    whole, rest = (desk.get(f"/v1/videos/{take.id}/stream{query}") for query in ("", "?from_fragment=2"))
    assert rest.content == b"0002" and rest.headers["etag"] != whole.headers["etag"]


def test_files_are_asked_for_their_sizes_together(desk, monkeypatch):
    take, size = desk.add(fragments=3), Store.size

    def slow(store, path):
        time.sleep(0.3)
        return size(store, path)

    monkeypatch.setattr(Store, "size", slow)
    began = time.monotonic()
    assert desk.get(f"/v1/videos/{take.id}/stream").content == b"000000010002"
    assert time.monotonic() - began < 0.85


def test_a_file_that_is_lost_is_not_there(desk):
    take = desk.add(fragments=3)
    desk.takes.store.delete(path_of(take.id, fragment_name(1)))
    assert refusal(desk.get(f"/v1/videos/{take.id}/stream")) == (404, "not_found")


def test_a_browser_asks_whether_the_page_has_changed(desk):
    page = desk.get("/")
    assert page.headers["cache-control"] == "no-cache" and page.headers["content-type"].startswith("text/html")
    assert desk.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
