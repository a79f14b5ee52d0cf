import math
import os
import subprocess
import sys

import pandas as pd
import pytest

from longtake.pipelines.__main__ import main
from longtake.pipelines.evaluate.command import check, run
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.settings import load_evaluate
from tests.support.evaluations import FAST, measured
from tests.support.places import ROOT


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


def test_figures_of_other_settings_are_refused(folder, tmp_path):
    measured(folder, tmp_path / "out")
    conf = load_evaluate(overrides=[f"manifest={folder}", f"out={tmp_path}/out", *FAST, "size=256"])
    with pytest.raises(ValueError, match=r"^out=.*size=128 \(now: 256\)"):
        check(conf)


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
        (["--compare", "{folder}", "out=x"], "at least two folders"),
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
