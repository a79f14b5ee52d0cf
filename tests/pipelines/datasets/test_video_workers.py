import json

import pytest

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.datasets.video_workers import _Worker

VIDEO = Listed("a.mp4", "/a.mp4")


def answers(worker, times=1):
    batch = {"number": [0], "item": [VIDEO.as_text()]}
    return [json.loads(worker(batch)["row"][0]) for _ in range(times)]


@pytest.mark.report("C4")
def test_a_worker_that_is_not_dead_says_what_failed():
    assert answers(_Worker(lambda: lambda video: {"path": video.path}, ())) == [{"path": "a.mp4"}]
    assert answers(_Worker(lambda: lambda video: {"path": object()}, ()))[0].startswith(
        "its worker failed: TypeError: "
    )
    assert answers(_Worker(lambda number: 1 / number, (0,))) == [
        "its worker failed: ZeroDivisionError: division by zero"
    ]


def test_a_worker_is_built_once_and_again_after_a_failure():
    built = []

    def build():
        built.append(len(built))
        if len(built) == 1:
            raise OSError("no memory")
        return lambda video: built[-1]

    assert answers(_Worker(build, ()), 3) == ["its worker failed: OSError: no memory", 1, 1]
