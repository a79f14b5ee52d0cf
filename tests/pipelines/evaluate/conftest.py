import pytest

from tests.support.evaluations import videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos") / "a", [1, 2, 0, 3])
