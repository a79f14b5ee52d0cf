import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from longtake.models.metrics.catalog import BY_NAME
from longtake.pipelines.__main__ import main
from longtake.pipelines.datasets.video_list import list_videos
from longtake.pipelines.evaluate import compare as comparing
from longtake.pipelines.evaluate.command import check, run
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.report import chosen, report
from longtake.pipelines.evaluate.results import ORDER, SCHEMA, Evaluation
from longtake.pipelines.evaluate.settings import load_evaluate
from longtake.pipelines.files.store import Store
from longtake.pipelines.files.video_file import VideoWriter
from tests.support.clips import translating
from tests.support.places import ROOT

ISSUED = (
    "path, status, reason, num_frames, fps, width, height, flow, scuts, ofs, ofs_squared, warp_error, mawe_v1, "
    "mawe_cvpr, mawe_code, clip_score, clip_anchor, flow_std, seam_ratio, temporal_flicker, stagnation"
)
FAST = ("size=128", "clip=null", "tracking.enabled=false", "num_workers=1")


def videos(folder, speeds, offset=0):
    """Textures that move, 10 frames of 64 px each, and a table that gives them prompts and seeds."""
    folder.mkdir()
    for i, speed in enumerate(speeds):
        with VideoWriter(folder / f"{i}.mp4", 8) as writer:
            # What stands still is of one colour: of a texture, encoding alone would make it move.
            writer.write(
                translating(10, speed, 0, 64, seed=i + offset) if speed else np.full((10, 64, 64, 3), 90, np.uint8)
            )
    lines = [f"{i}.mp4,a texture,{i}" for i in range(len(speeds))]
    (folder / "metadata.csv").write_text("\n".join(["file_name,prompt,seed", *lines]) + "\n")
    return folder


def measured(folder, out, *overrides):
    conf = load_evaluate(overrides=[f"manifest={folder}", f"out={out}", *FAST, *overrides])
    prepared = check(conf)
    evaluation, measure = prepared.evaluation, Measurer(conf)
    evaluation.begin({"flow": prepared.flow, "size": conf.size, "clip": conf.clip, "manifest": conf.manifest})
    evaluation.add([measure(video) for video in prepared.videos])
    return evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos") / "a", [1, 2, 0, 3])


def test_the_columns_have_the_names_that_people_rely_on():
    assert ORDER.split()[:21] == ISSUED.split(", ")
    assert set(BY_NAME) <= set(SCHEMA.names)


@pytest.mark.xdist_group("ray")
def test_a_killed_evaluation_goes_on_and_every_video_has_one_row(ray_cluster, folder, tmp_path, monkeypatch):
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "list.csv").write_text(
        "path\n" + "".join(f"{name}\n" for name in ("0.mp4", "1.mp4", "2.mp4", "broken.mp4"))
    )
    conf = load_evaluate(overrides=[f"manifest={folder}/list.csv", f"out={tmp_path}/out", *FAST])
    prepared = check(conf)
    evaluation, measure = prepared.evaluation, Measurer(conf)
    evaluation.begin({"flow": prepared.flow, "size": conf.size, "clip": conf.clip, "manifest": conf.manifest})
    evaluation.add([{**measure(prepared.videos[0]), "reason": "measured before the kill"}])
    (tmp_path / "out" / "metrics" / ".part-000002.parquet.0123abcd.part").write_bytes(b"half")
    rows = run(check(conf))
    assert [row["path"] for row in rows] == ["0.mp4", "1.mp4", "2.mp4", "broken.mp4"]
    assert rows[0]["reason"] == "measured before the kill" and rows[1]["reason"] is None
    assert rows[3]["status"] == "failed" and rows[3]["reason"]
    table = pd.read_parquet(tmp_path / "out" / "metrics")
    assert len(table) == 4 and table.path.is_unique
    assert table.set_index("path").mawe_code["2.mp4"] == math.inf
    page = (tmp_path / "out" / "index.html").read_text()
    assert "broken.mp4" in page and "3 videos measured, 1 failed" in page and "<video" in page


def test_a_still_video_is_a_row_with_an_infinite_mawe(folder, tmp_path):
    rows = measured(folder, tmp_path / "out").rows()
    assert [math.isinf(row["mawe_code"]) for row in rows] == [False, False, True, False]
    assert rows[0]["ofs"] < rows[1]["ofs"] < rows[3]["ofs"] and rows[2]["stagnation"] == 1
    assert len(rows[0]["curve_flow"]) == 9 and rows[0]["clip_score"] is None


def test_figures_of_other_settings_are_refused(folder, tmp_path):
    measured(folder, tmp_path / "out")
    conf = load_evaluate(overrides=[f"manifest={folder}", f"out={tmp_path}/out", *FAST, "size=256"])
    with pytest.raises(ValueError, match=r"^out=.*size=128 \(now: 256\)"):
        check(conf)


def test_the_best_and_the_worst_are_chosen_and_the_page_escapes_what_it_shows(folder, tmp_path):
    rows = measured(folder, tmp_path / "out").rows()
    rows[0]["prompt"] = "<script>"
    groups = dict(chosen(rows))
    assert groups["Worst MAWE, published code"][0]["path"] == "2.mp4"
    page = report(rows, "note", {row["path"]: "shown/x.mp4" for row in rows})
    assert page.count("<script>") == 1 and page.count("&lt;script&gt;") >= 2  # the page has one script of its own
    assert "1 infinite" in page and "nan" not in page


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


def test_the_same_videos_do_not_differ(folder, tmp_path):
    rows = measured(folder, tmp_path / "out").rows()
    assert comparing.difference("ofs", rows, rows) == [0, 0, 0]
    assert comparing.difference("clip_score", rows, rows) is None


def test_evaluations_with_different_settings_are_not_compared(folder, tmp_path, capsys):
    one, other = measured(folder, tmp_path / "one"), measured(folder, tmp_path / "other", "size=64")
    assert main(["evaluate", "--compare", one.store.url, other.store.url, f"out={tmp_path}/page"]) == 2
    assert "size=128" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, said",
    [
        (["manifest=nowhere-at-all", "out=x"], "manifest=nowhere-at-all"),
        (["out=x"], "manifest"),
        (["manifest={folder}", "out=x", "flow=horn"], "flow=horn must be one of"),
        (["manifest={folder}", "out=x", "flow=raft_large"], "flow=raft_large: "),
        (["manifest={folder}", "out=x", "flow=raft_large", "size=100"], "flow=raft_large: size=100 must be a multiple"),
        (["manifest={folder}", "out=x", "size=7"], "size=7 must be between"),
        (["manifest={folder}", "out=x", "clip={folder}"], "must be a bundle or a folder with a transformers CLIP"),
        (["manifest={folder}", "out=x", "colour=red"], "colour"),
        (["--compare", "{folder}", "out=x"], "two folders at least"),
        (["--compare", "{folder}", "{folder}"], "out is missing"),
        (["--compare", "{folder}", "{folder}", "out=x"], "it holds no evaluation"),
        (["--compare", "{folder}", "{folder}", "out=x", "size=64"], "only out can be set"),
    ],
)
def test_an_invalid_command_is_refused_in_one_line(folder, argv, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *(word.replace("{folder}", str(folder)) for word in argv)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_pandas_reads_an_evaluation(folder, tmp_path):
    evaluation = measured(folder, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "metrics")
    assert list(table.columns[:21]) == ISSUED.split(", ") and len(table) == len(list_videos(str(folder)))
    assert Evaluation(Store(tmp_path / "out")).settings == evaluation.settings


@pytest.mark.parametrize(
    "argv", [["manifest=nowhere-at-all", "out=x"], ["out=x", "flow=horn"], ["--compare", "nowhere", "here", "out=x"]]
)
def test_a_missing_folder_or_a_wrong_setting_is_refused_before_torch_is_imported(argv, tmp_path):
    program = (
        "import sys; from longtake.pipelines.__main__ import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "evaluate", *argv]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.stdout.split() == [b"2", b"False"]
