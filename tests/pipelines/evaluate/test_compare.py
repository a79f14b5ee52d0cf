import numpy as np
import pytest

from longtake.pipelines.__main__ import main
from longtake.pipelines.evaluate import compare as comparing
from tests.support.evaluations import measured, videos


def test_a_comparison_pairs_prompts_and_seeds_and_says_what_differs(folder, tmp_path, capsys):
    slow, fast = (
        measured(folder, tmp_path / "slow"),
        measured(videos(tmp_path / "b", [3, 4, 3, 5, 1]), tmp_path / "fast"),
    )
    argv = ["evaluate", "--compare", slow.store.url, fast.store.url, f"out={tmp_path}/page"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "slow: 4 videos, 4 of them in all folders" in said and "fast: 5 videos, 4 of them" in said
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<video") == 8 and "4 pairs" in page
    firsts, others = ([row for row in one.rows() if row["seed"] < 4] for one in (slow, fast))
    mean, low, high = comparing.difference("ofs", firsts, others)
    assert 0 < low <= mean <= high
    assert np.isclose(mean, np.mean([b["ofs"] - a["ofs"] for a, b in zip(firsts, others, strict=True)]))


def test_a_verdict_needs_enough_pairs(folder, tmp_path, monkeypatch, capsys):
    slow = measured(folder, tmp_path / "slow")
    fast = measured(videos(tmp_path / "b", [3, 4, 3, 5]), tmp_path / "fast")
    page = tmp_path / "page" / "index.html"
    argv = ["evaluate", "--compare", slow.store.url, fast.store.url, f"out={page.parent}"]
    assert main(argv) == 0
    assert "too few for a verdict" in page.read_text() and 'class="worse"' not in page.read_text()
    monkeypatch.setattr(comparing, "MIN_PAIRS", 4)
    assert main(argv) == 0
    assert "too few for a verdict" not in page.read_text() and 'class="worse"' in page.read_text()


@pytest.mark.report("B2")
def test_videos_that_make_no_pair_are_counted(folder, tmp_path, capsys):
    one, other = measured(folder, tmp_path / "one"), measured(folder, tmp_path / "other")
    row = other.rows()[0]
    other.add([{**row, "path": "a", "status": "failed"}, {**row, "path": "b", "seed": None}, {**row, "path": "c"}])
    assert main(["evaluate", "--compare", one.store.url, other.store.url, f"out={tmp_path}/page"]) == 0
    left_out = "1 without metrics, 1 without prompt or seed, 1 with the prompt and seed of another video"
    assert f"other: 4 videos, 4 of them in all folders; left out: {left_out}\n" in capsys.readouterr().out


def test_the_same_videos_do_not_differ(folder, tmp_path):
    rows = measured(folder, tmp_path / "out").rows()
    assert comparing.difference("ofs", rows, rows) == [0, 0, 0]
    assert comparing.difference("clip_score", rows, rows) is None


def test_evaluations_with_different_settings_are_not_compared(folder, tmp_path, capsys):
    one, other = measured(folder, tmp_path / "one"), measured(folder, tmp_path / "other", "size=64")
    assert main(["evaluate", "--compare", one.store.url, other.store.url, f"out={tmp_path}/page"]) == 2
    assert "size=128" in capsys.readouterr().err


def test_evaluations_without_a_pair_are_refused(folder, tmp_path, capsys):
    one, other = measured(folder, tmp_path / "one"), measured(videos(tmp_path / "b", [2]), tmp_path / "other")
    other.forget([row["made_from"] for row in other.rows()])
    assert not other.rows()
    assert main(["evaluate", "--compare", one.store.url, other.store.url, f"out={tmp_path}/page"]) == 2
    assert "they have no prompt and seed in common" in capsys.readouterr().err


def test_evaluations_with_the_same_clip_from_two_places_are_compared(folder, tmp_path, capsys):
    one, other = measured(folder, tmp_path / "one"), measured(folder, tmp_path / "other")
    argv = ["evaluate", "--compare", one.store.url, other.store.url, f"out={tmp_path}/page"]
    for place, evaluation in zip("ab", (one, other), strict=True):
        evaluation.begin({**evaluation.settings, "clip": place, "clip_sha256": "ab"})
    assert main(argv) == 0
    other.begin({**other.settings, "clip_sha256": "cd"})
    assert main(argv) == 2 and "clip_sha256=ab" in capsys.readouterr().err
