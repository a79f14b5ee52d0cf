"""The folder of a conversion: whole or not there, whatever happens meanwhile."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from longtake.pipelines.convert.new_folder import check_out, new_folder
from longtake.pipelines.terminal.exit_codes import Refused
from tests.support.places import ROOT


def write(out: Path, text: str, part: str = "unet") -> None:
    with new_folder(out) as folder:
        (folder / "bundle.json").write_text(json.dumps({"format": 1, "sources": [{"parts": [part]}]}))
        (folder / "text").write_text(text)


def test_it_is_there_at_the_end_and_nothing_else(tmp_path):
    with new_folder(tmp_path / "bundle") as folder:
        (folder / "bundle.json").write_text('{"format": 1}')
        assert not (tmp_path / "bundle").exists()
    assert os.listdir(tmp_path) == ["bundle"] and os.listdir(tmp_path / "bundle") == ["bundle.json"]


def test_a_failure_leaves_what_was_there(tmp_path):
    for _ in range(2):  # without a folder before, and with one
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "bundle") as folder:
            (folder / "text").write_text("half")
            raise KeyboardInterrupt
        assert sorted(tmp_path.rglob("*")) == before
        write(tmp_path / "bundle", "whole")


def test_a_folder_of_ours_is_replaced_and_what_only_it_has_stays(tmp_path):
    write(tmp_path / "bundle", "one")
    write(tmp_path / "bundle" / "refiner", "refiner")
    write(tmp_path / "bundle", "two")
    assert (tmp_path / "bundle" / "text").read_text() == "two"
    assert (tmp_path / "bundle" / "refiner" / "text").read_text() == "refiner"
    assert os.listdir(tmp_path) == ["bundle"]


def test_new_empty_and_own_folders_may_be_written(tmp_path):
    check_out(tmp_path / "new", "unet")
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", "unet")
    write(tmp_path / "empty" / "refiner", "refiner first", "refiner")
    check_out(tmp_path / "empty", "unet")
    check_out(tmp_path / "empty" / "refiner", "refiner")


def test_other_folders_are_refused(tmp_path):
    write(tmp_path / "bundle", "another conversion's")
    for name, file in {"photos": "photo.jpg", "trained": "model_index.json"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "trained" / "bundle.json").write_text('{"format": 1, "defaults": {}}')
    (tmp_path / "parent" / "refiner").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("bundle", "photos", "trained", "file", "parent"):
        with pytest.raises(ValueError, match=f"{name} exists and was not made by `longtake convert`"):
            check_out(tmp_path / name, "refiner")
    with pytest.raises(ValueError, match="there is no folder"):
        check_out(tmp_path / "absent" / "bundle", "unet")


def test_two_at_once_are_refused_and_the_first_is_not_disturbed(tmp_path):
    with new_folder(tmp_path / "bundle") as folder:
        (folder / "text").write_text("first")
        with pytest.raises(Refused, match="another longtake convert is already writing there"):
            write(tmp_path / "bundle", "second")
        assert (folder / "text").read_text() == "first"
    assert (tmp_path / "bundle" / "text").read_text() == "first"


@pytest.mark.parametrize("moment", ["writing", "between", "after"])
def test_killed_at_any_moment_the_next_one_ends_right(tmp_path, moment):
    """In the block; when the old folder is away and the new one not there; when the old one is not yet merged."""
    out = tmp_path / "bundle"
    write(out, "one")
    write(out / "refiner", "refiner")
    script = f"""
        import os, signal
        from pathlib import Path
        from longtake.pipelines.convert import new_folder as module
        out, moves = Path({str(out)!r}), []
        rename = Path.rename
        def dying(self, target):
            moves.append(target)
            if len(moves) == {{"writing": 0, "between": 2, "after": 3}}[{moment!r}]:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(self, target)
        Path.rename = dying
        with module.new_folder(out) as folder:
            (folder / "bundle.json").write_text('{{"format": 1}}')
            (folder / "text").write_text("two")
            if {moment!r} == "writing":
                os.kill(os.getpid(), signal.SIGKILL)
    """
    dead = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert dead.returncode == -signal.SIGKILL and (tmp_path / ".bundle.part").exists()
    write(out, "three")
    assert (out / "text").read_text() == "three" and (out / "refiner" / "text").read_text() == "refiner"
    assert os.listdir(tmp_path) == ["bundle"] and sorted(os.listdir(out)) == ["bundle.json", "refiner", "text"]
