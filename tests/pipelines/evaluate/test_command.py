import math
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from longtake.pipelines.__main__ import main
from longtake.pipelines.datasets import video_workers
from longtake.pipelines.evaluate.command import check, run
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.settings import load_evaluate
from longtake.pipelines.terminal.exit_codes import ExitCode
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


@pytest.mark.report("B2", "B4", "B16", "C15", "C21")
@pytest.mark.chaos  # workers that import torch are killed three times
@pytest.mark.xdist_group("ray")
def test_a_killed_evaluation_goes_on_and_every_video_has_one_row(ray_cluster, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("longtake.pipelines.evaluate.measurer.Measurer", killer)
    monkeypatch.setattr(video_workers, "ATTEMPTS", 1)
    names = ("0.mp4", "1.mp4", "2.mp4", "broken.mp4", "take#2.mp4", "crash.mp4", "half.mp4", "missing.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    for name in ("take#2.mp4", "crash.mp4"):
        shutil.copy(folder / "3.mp4", folder / name)
    whole = (folder / "3.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) * 3 // 5])
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
    assert "its worker died" in rows["crash.mp4"]["reason"] and rows["broken.mp4"]["reason"]
    assert 2 <= rows["half.mp4"]["num_frames"] < 10 and "damaged" in rows["half.mp4"]["notes"]
    table = pd.read_parquet(tmp_path / "out" / "metrics")
    assert len(table) == len(names) and table.path.is_unique
    assert table.set_index("path").mawe_code["2.mp4"] == math.inf
    page = (tmp_path / "out" / "index.html").read_text()
    assert "broken.mp4: " in page and "half.mp4: " in page and "5 videos measured, 3 failed" in page
    assert outcome.lines()[0] == "4 videos measured now, 1 measured before, 3 failed now"
    says_what_failed_before(folder, tmp_path, capsys)


def says_what_failed_before(folder, tmp_path, capsys):
    """The same command again: nothing is left to be measured, so no Ray is needed."""
    capsys.readouterr()  # Ray's lines on the worker that died
    assert main(["evaluate", f"manifest={folder}/list.csv", f"out={tmp_path}/out", *FAST]) == ExitCode.SOME_FAILED
    said = capsys.readouterr()
    first, second = (line for line in said.out.splitlines() if line.startswith(f"{tmp_path}/out: "))
    failed = "0 failed now, 3 failed before (retry_failed=true measures them again)"
    assert first == f"{tmp_path}/out: 0 videos measured now, 5 measured before, {failed}"
    assert (
        "1 with notes, on the page and in the column notes: 1 x " in second
        and f"see {tmp_path}/out/index.html" in said.out
    )
    assert "what libraries print is in " in said.err and "Loading weights" not in said.err


def test_figures_of_other_settings_are_refused(folder, tmp_path):
    measured(folder, tmp_path / "out")
    conf = load_evaluate(overrides=[f"manifest={folder}", f"out={tmp_path}/out", *FAST, "size=256"])
    with pytest.raises(ValueError, match=r"^out=.*size=128 \(now: 256\)"):
        check(conf)


def test_clip_is_compared_by_its_weights_and_not_by_its_place(folder, copy_of_random_bundle, tmp_path):
    def conf(place):
        fast = [word for word in FAST if not word.startswith("clip=")]
        return load_evaluate(overrides=[f"manifest={folder}", f"out={tmp_path}/out", *fast, f"clip={place}"])

    prepared = check(conf(copy_of_random_bundle))
    prepared.evaluation.begin(prepared.settings)
    moved = copy_of_random_bundle.rename(tmp_path / "moved")
    check(conf(moved))
    (moved / "image_encoder" / "note.txt").write_text("other weights")
    with pytest.raises(ValueError, match=r"with other settings: clip_sha256=.* \(now: .*\)"):
        check(conf(moved))
    with pytest.raises(ValueError, match=r"with other settings: clip=.* \(now: None\)"):
        check(conf("null"))


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
