"""A training whose workers and driver are killed, and videos that kill their reader: `make chaos`."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import sample_scene
from longtake.pipelines.datasets.video_workers import DIED
from longtake.pipelines.files.video_file import VideoWriter
from tests.end_to_end.chaos.test_chaos import kill_tree, own_env

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("ray")]
STEPS = 60


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    lines = ["file_name,text"]
    for i in range(6):
        scene = sample_scene(np.random.default_rng(i))
        with VideoWriter(folder / f"{i}.mp4", 8) as writer:
            writer.write((render([scene], np.arange(40), 64)[0].permute(0, 2, 3, 1) * 255).byte().numpy())
        lines.append(f"{i}.mp4,{scene.caption()}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def start(clips, bundle, folder, *others, **env):
    settings = [f"manifest={clips}", f"bundle={bundle}", f"work={folder}/work", f"out={folder}/out", "workers=2"]
    loop = [f"memory.loop.steps={STEPS}", "memory.loop.gate_every=30", "memory.loop.checkpoint_s=0"]
    command = [sys.executable, "-m", "pipelines", "train", *settings, *loop, "clips.per_video=2", *others]
    env = {**own_env(), "OMP_NUM_THREADS": "1"} | env
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process):
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text[-3000:]


def reached(process, folder, step):
    """Waits until the training has logged this step."""
    log = folder / "work" / "memory" / "log.jsonl"
    while not log.exists() or not any(json.loads(line)["step"] >= step for line in log.read_text().splitlines()):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)


def test_a_training_ends_with_the_same_weights_whoever_is_killed(clips, random_bundle, tmp_path, figure):
    end(start(clips, random_bundle, tmp_path / "calm"))
    process = start(clips, random_bundle, tmp_path / "wild")
    reached(process, tmp_path / "wild", 10)
    workers = [
        one.pid
        for one in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(one.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)  # the others restart with it
    reached(process, tmp_path / "wild", 30)
    killed = kill_tree(process)
    end(start(clips, random_bundle, tmp_path / "wild"))
    log = [json.loads(line)["step"] for line in (tmp_path / "wild/work/memory/log.jsonl").read_text().splitlines()]
    assert log.count(0) == 1, "it began anew, and did not go on from a checkpoint"
    figure(steps=STEPS, lines_logged=len(log), killed_processes=killed + 1)
    for part in ("cam", "apm"):
        calm, wild = (
            load_file(next((tmp_path / name / "out" / part).glob("*.safetensors"))) for name in ("calm", "wild")
        )
        assert all(torch.equal(calm[name], wild[name]) for name in calm)


DEADLY = """
import os, signal, sys

def deadly(event, args):
    if event == "open" and str(args[0]).endswith("/1.mp4") and "worker" in sys.argv[0]:
        os.write(os.open("{kills}", os.O_CREAT | os.O_WRONLY | os.O_APPEND), b"x")
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(deadly)
"""


def test_a_video_that_kills_its_worker_costs_that_video_alone(clips, random_bundle, tmp_path, figure):
    """Like a decoder that crashes on a broken file, in every worker that opens it."""
    kills = tmp_path / "kills"
    (tmp_path / "sitecustomize.py").write_text(DEADLY.replace("{kills}", str(kills)))
    path = f"{tmp_path}:{own_env()['PYTHONPATH']}"
    end(start(clips, random_bundle, tmp_path, "memory.loop.steps=2", "memory.loop.batch=2", PYTHONPATH=path))
    rows = {row["path"]: row for row in map(json.loads, (tmp_path / "work/videos.jsonl").read_text().splitlines())}
    assert [rows[f"{i}.mp4"]["clips"] for i in range(6)] == [2, 0, 2, 2, 2, 2]
    assert rows["1.mp4"]["reason"] == DIED
    attempts = len(kills.read_text())  # one character each
    assert attempts == 3
    figure(videos=len(rows), gave_clips=sum(row["clips"] > 0 for row in rows.values()), attempts=attempts)
