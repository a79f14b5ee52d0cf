import math
import os
import shutil
import subprocess
import sys

import av
import pandas as pd
import pytest

from longtake.pipelines.__main__ import main
from longtake.pipelines.evaluate.command import check, run
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.settings import load_evaluate
from tests.support.evaluations import FAST, measured
from tests.support.places import ROOT


def killer(conf):
    """A Measurer whose process dies of some videos."""
    measure = Measurer(conf)

    def call(video):
        if "crash" in video.path:
            os._exit(139)
        return measure(video)

    return call


@pytest.mark.report("B4", "C15", "C21")
@pytest.mark.xdist_group("ray")
def test_a_killed_evaluation_goes_on_and_every_video_has_one_row(ray_cluster, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("longtake.pipelines.evaluate.measurer.Measurer", killer)
    names = ("0.mp4", "1.mp4", "2.mp4", "broken.mp4", "take#2.mp4", "crash.mp4", "half.mkv", "missing.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    for name in ("take#2.mp4", "crash.mp4"):
        shutil.copy(folder / "3.mp4", folder / name)
    half(folder / "3.mp4", folder / "half.mkv")
    (folder / "list.csv").write_text("".join(f"{name}\n" for name in ("path", *names)))
    conf = load_evaluate(overrides=[f"manifest={folder}/list.csv", f"out={tmp_path}/out", *FAST])
    prepared = check(conf)
    evaluation, measure = prepared.evaluation, Measurer(conf)
    evaluation.begin(prepared.settings)
    evaluation.add([{**measure(prepared.videos[0]), "reason": "measured before the kill"}])
    (tmp_path / "out" / "metrics" / ".part-000002.parquet.0123abcd.part").write_bytes(b"half")
    outcome = run(check(conf))
    rows = {row["path"]: row for row in outcome.rows}
    assert set(rows) == set(names) and len(outcome.rows) == len(names)
    assert rows["0.mp4"]["reason"] == "measured before the kill" and rows["1.mp4"]["reason"] is None
    assert {name for name in names if rows[name]["status"] != "done"} == {"broken.mp4", "crash.mp4", "missing.mp4"}
    assert "its worker died in 3 attempts" in rows["crash.mp4"]["reason"] and rows["broken.mp4"]["reason"]
    assert 2 <= rows["half.mkv"]["num_frames"] < 10 and "damaged" in rows["half.mkv"]["notes"]
    table = pd.read_parquet(tmp_path / "out" / "metrics")
    assert len(table) == len(names) and table.path.is_unique
    assert table.set_index("path").mawe_code["2.mp4"] == math.inf
    page = (tmp_path / "out" / "index.html").read_text()
    assert "broken.mp4: " in page and "half.mkv: " in page and "5 videos measured, 3 failed" in page
    assert outcome.lines()[0] == "4 videos measured now, 1 there already, 3 failed now"


def half(video, place):
    """The video as Matroska, cut within its last frames: packets stand in the order of time there."""
    with av.open(str(video)) as source, av.open(str(place), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = place.read_bytes()
    place.write_bytes(data[: len(data) * 2 // 3])


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
