"""An evaluation whose driver, Ray and workers are killed: `make chaos`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from longtake.pipelines.files.video_file import VideoWriter
from tests.end_to_end.chaos.test_chaos import kill_tree, own_env
from tests.support.clips import translating

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("ray")]
COUNT = 60


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(COUNT):
        with VideoWriter(folder / f"{i:02}.mp4", 8) as writer:
            writer.write(translating(48, 1 + i % 5, 0, 96, seed=i).astype(np.uint8))
    return folder


def start(clips: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines", "evaluate", f"manifest={clips}", f"out={out}", "clip=null"]
    env = {**own_env(), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process):
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text[-3000:]


def table(out):
    return pd.read_parquet(out / "metrics").drop(columns="seconds").sort_values("path").reset_index(drop=True)


def test_a_kill_of_all_of_an_evaluation_costs_what_was_not_written_yet_and_no_more(clips, tmp_path, figure):
    end(start(clips, tmp_path / "calm"))
    process = start(clips, tmp_path / "wild")
    parts = tmp_path / "wild" / "metrics"
    while not parts.is_dir() or sum(name.endswith(".parquet") for name in os.listdir(parts)) < 2:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    killed = kill_tree(process)
    rows_then = len(table(tmp_path / "wild"))
    end(start(clips, tmp_path / "wild"))
    figure(videos=COUNT, rows_at_the_kill=rows_then, killed_processes=killed)
    assert 0 < rows_then < COUNT
    pd.testing.assert_frame_equal(table(tmp_path / "wild"), table(tmp_path / "calm"))
