"""Bulk jobs whose drivers, actors and machines are killed: `make chaos`."""

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pandas as pd
import psutil
import pytest
import ray

from longtake.pipelines.datasets.manifest import Manifest
from longtake.pipelines.files.store import Store
from tests.support.places import ROOT
from tests.support.s3 import away

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("ray")]


def start(address, seconds, *overrides):
    """Starts a bulk job in a process of its own, in a running cluster."""
    env = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.bulk_driver", str(seconds), *overrides]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process, timeout=300):
    text, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, text
    counts = re.search(r"(\d+) videos made, (\d+) failed, (\d+) already finished", text)
    return [int(number) for number in counts.groups()]


def write_prompts(path, count, num_frames):
    rows = ({"id": f"v{i:05}", "prompt": f"a red circle {i}", "num_frames": num_frames} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def videos_of(out):
    """The rows of a finished job in its order, and the sha256 of the files that they name."""
    store = Store(str(out))
    rows = sorted(Manifest(store).rows(), key=lambda row: row.ordinal)
    assert len({row.id for row in rows}) == len(rows)
    files = {path for path in store.list("videos") if path.endswith(".mp4")}
    assert files == {row.path for row in rows if row.path and "#" not in row.path}  # nothing half done, nothing extra
    rows_of_job = [(row.id, row.ordinal, row.status, row.path, row.sha256, row.seed, row.settings) for row in rows]
    return rows_of_job, [sha256(read(store, row.path)).hexdigest() for row in rows]


def read(store, path):
    file, _, member = path.partition("#")
    if not member:
        return store.get(file)
    with tarfile.open(fileobj=io.BytesIO(store.get(file))) as tar:
        return tar.extractfile(member).read()


def lying_in(out):
    """The sha256 of every video file, with a row in the manifest or without."""
    store = Store(str(out))
    videos = store.get_each([path for path in store.list("videos") if path.endswith(".mp4")])
    return {sha256(video).hexdigest() for video in videos if video is not None}  # a video may be moving into a shard


def num_finished(out):
    while True:
        with suppress(FileNotFoundError):  # records may become a parquet part meanwhile
            return sum(1 for _ in Manifest(Store(str(out))).rows())


# Format, polling interval for the moment of the kill, and duration of a call, the last two in seconds.
KINDS = {
    "disk": ("mp4", 0.02, 0.01),
    "webdataset": ("webdataset", 0.02, 0.01),
    "videofolder": ("videofolder", 0.02, 0.01),
    "s3": ("mp4", 0.2, 0.05),
}


@pytest.mark.parametrize("kind", KINDS)
def test_five_kills_of_the_driver_at_random_moments_change_nothing(ray_cluster, s3_url, tmp_path, figure, kind):
    address, (form, look_s, call_s) = ray.get_runtime_context().gcs_address, KINDS[kind]
    home = f"{s3_url}/{tmp_path.name}" if kind == "s3" else tmp_path
    prompts, seed = write_prompts(tmp_path / "prompts.jsonl", 40, 40), random.randrange(2**32)
    calm, wild = ((f"prompts={prompts}", f"out={home}/{name}", f"format={form}") for name in ("calm", "wild"))
    end(start(address, 0.01, *calm))
    expected = videos_of(f"{home}/calm")
    rng, finished = random.Random(seed), []
    for _ in range(5):
        process = start(address, call_s, *wild)
        aim = (finished[-1] if finished else 0) + rng.randrange(1, 7)
        while num_finished(f"{home}/wild") < aim and process.poll() is None:
            time.sleep(look_s)
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.wait()
        finished.append(num_finished(f"{home}/wild"))
        assert lying_in(f"{home}/wild") <= set(expected[1])  # nothing is half
    made, failed, skipped = end(start(address, 0.0, *wild))
    figure(seed=seed, finished_at_each_kill=finished, made_at_last=made, skipped_at_last=skipped)
    assert failed == 0 and made + skipped == 40 and 0 < finished[0] and finished[-1] < 40
    assert videos_of(f"{home}/wild") == expected


@pytest.mark.report("B5")
def test_an_object_store_that_is_away_for_a_while_ends_no_job(ray_cluster, s3_url, tmp_path, figure):
    address, home = ray.get_runtime_context().gcs_address, f"{s3_url}/{tmp_path.name}"
    prompts = write_prompts(tmp_path / "prompts.jsonl", 20, 40)
    process = start(address, 0.05, f"prompts={prompts}", f"out={home}/out")
    while num_finished(f"{home}/out") < 3 and process.poll() is None:
        time.sleep(0.2)
    with away():
        time.sleep(20)
    text, _ = process.communicate(timeout=300)
    figure(away_s=20)
    assert process.returncode == 0 and "does not answer" in text and "20 videos made, 0 failed" in text, text


def test_a_kill_of_the_whole_machines_ray_and_of_the_job_changes_nothing(tmp_path, figure):
    prompts = write_prompts(tmp_path / "prompts.jsonl", 30, 40)
    calm, wild = ((f"prompts={prompts}", f"out={tmp_path}/{name}") for name in ("calm", "wild"))
    with head() as (_, address):
        end(start(address, 0.0, *calm))
    with head() as (ray_of_it, address):
        process = start(address, 0.02, *wild)
        while num_finished(tmp_path / "wild") < 7:
            time.sleep(0.02)
        killed = kill_tree(ray_of_it, process)
    finished = num_finished(tmp_path / "wild")
    with head() as (_, address):
        made, failed, skipped = end(start(address, 0.0, *wild))
    figure(killed_processes=killed, finished_then=finished, made_after=made)
    assert (failed, skipped) == (0, finished) and made == 30 - finished
    assert videos_of(tmp_path / "wild") == videos_of(tmp_path / "calm")


def kill_tree(*roots):
    """Kills these processes and all their children (SIGKILL); returns their number."""
    tree = [one for root in roots for one in (psutil.Process(root.pid), *psutil.Process(root.pid).children(True))]
    for one in tree:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    for root in roots:
        root.wait(30)
    return len(tree)


@contextmanager
def head():
    """`ray start --head` as a user runs it, on free ports: its process and its address."""
    place = tempfile.mkdtemp(prefix="lt", dir="/tmp")  # short: the path of a socket has at most 107 characters
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=4", "--port=6399"]
    ports = [
        "--dashboard-port=8399",
        "--dashboard-agent-listen-port=8398",
        "--ray-client-server-port=9399",
        f"--temp-dir={place}",
        "--disable-usage-stats",
    ]
    process = subprocess.Popen(
        [*command, *ports], env=own_env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would block it
    try:
        yield process, "127.0.0.1:6399"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(place, ignore_errors=True)


def own_env():
    """The environment for a Ray other than the one of this process."""
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    env |= {"PYTHONPATH": str(ROOT)}
    env.pop("RAY_ADDRESS", None)
    return env


def test_sigterm_commits_what_is_whole_and_the_job_goes_on_later(ray_cluster, tmp_path, figure):
    address = ray.get_runtime_context().gcs_address
    prompts = write_prompts(tmp_path / "prompts.jsonl", 30, 40)
    overrides = (f"prompts={prompts}", f"out={tmp_path}/out")
    process = start(address, 0.02, *overrides)
    while num_finished(tmp_path / "out") < 5:
        time.sleep(0.02)
    began = time.monotonic()
    process.terminate()
    text, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert process.returncode == 143 and "run the same command again" in text, text
    rows = pd.read_parquet(tmp_path / "out" / "manifest")
    assert len(rows) == len(list((tmp_path / "out").glob("videos/**/*.mp4"))) >= 5  # compacted, nothing half done
    made, _, skipped = end(start(address, 0.0, *overrides))
    figure(seconds_to_stop=round(seconds, 1), finished_then=len(rows), made_after=made)
    assert skipped == len(rows) and made == 30 - skipped


def test_a_machine_that_dies_in_the_middle_of_a_job_changes_nothing(tmp_path, figure):
    """Two raylets, one killed. In a separate process, since this one may already have a Ray."""
    program = Path(__file__).with_name("two_machines.py")
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        cwd=ROOT, env=own_env(), capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    # Ray also reports the dead machine there.
    figures = json.loads(next(line for line in run.stdout.splitlines() if line.startswith('{"videos"')))
    figure(**figures)
    assert figures["done"] == figures["videos"] and figures["retries"] > 0
    assert videos_of(tmp_path / "killed") == videos_of(tmp_path / "calm")


def test_memory_of_the_driver_stays_flat_over_2000_prompts(ray_cluster, tmp_path, figure):
    address = ray.get_runtime_context().gcs_address
    prompts, out = write_prompts(tmp_path / "prompts.jsonl", 2000, 1), tmp_path / "out"
    process, samples, began = (
        start(address, 0.0, f"prompts={prompts}", f"out={out}", "in_flight=8"),
        [],
        time.monotonic(),
    )
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess, OSError):  # it may end, or a record become a part, meanwhile
            count = num_finished(out) if len(samples) % 10 == 0 else None
            memory = psutil.Process(process.pid).memory_info()
            # Its own: pages of libraries and of the object store come and go with what else the machine does.
            samples.append((count, memory.rss - memory.shared))
        time.sleep(0.5)
    made, failed, _ = end(process)
    seconds = time.monotonic() - began
    known = [(count, own) for count, own in samples if count is not None and count >= 400]
    (first, before), (last, after) = known[0], known[-1]
    slope = (after - before) / (last - first)
    figure(
        made=made,
        seconds=round(seconds),
        own_mib=[round(before / 2**20), round(after / 2**20)],
        bytes_a_prompt=round(slope),
    )
    assert (made, failed) == (2000, 0)
    rows = pd.read_parquet(out / "manifest")
    assert len(rows) == 2000 and rows.id.is_unique
    assert slope < 8192


@pytest.fixture
def real_cluster():
    with head():
        yield "http://127.0.0.1:8399", own_env()


def submit(address, env, *command):
    ray_command = str(Path(sys.executable).parent / "ray")
    # The port answers before the jobs API, and the jobs API before an agent can run a job.
    for _ in range(60):
        run = subprocess.run(
            [ray_command, "job", "submit", "--address", address, "--working-dir", str(ROOT), *command],
            env=env, capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        output = run.stderr + run.stdout
        if "Failed to connect" not in output and "No available agent" not in output:
            return run
        time.sleep(2)
    return run


def test_ray_job_submit_makes_the_videos_and_ray_job_stop_commits_what_is_whole(real_cluster, tmp_path, figure):
    """The tiny bundle and the command in the README."""
    address, env = real_cluster
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a large red circle moves right over a plain navy background\n" * 2)
    longtake = [str(Path(sys.executable).parent / "longtake"), "bulk", f"prompts={prompts}", "num_frames=16"]
    few = ["base.num_inference_steps=2", "refiner.num_inference_steps=2"]
    began = time.monotonic()
    run = submit(address, env, "--", *longtake, *few, f"out={tmp_path}/out")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    rows = pd.read_parquet(tmp_path / "out" / "manifest")
    assert list(rows.status) == ["done", "done"]
    submitted_s = time.monotonic() - began

    prompts.write_text("a large red circle moves right over a plain navy background\n" * 50)
    wait = '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}'
    run = submit(
        address, env, "--no-wait", "--runtime-env-json", wait, "--", *longtake, *few, f"out={tmp_path}/stopped"
    )
    job = re.search(r"raysubmit_\w+", run.stdout).group()
    while num_finished(tmp_path / "stopped") < 2:
        time.sleep(0.2)
    began = time.monotonic()
    ray_command = str(Path(sys.executable).parent / "ray")
    subprocess.run([ray_command, "job", "stop", "--address", address, job], env=env, timeout=120, check=True)
    rows = pd.read_parquet(tmp_path / "stopped" / "manifest")
    assert len(rows) == len(list((tmp_path / "stopped").glob("videos/**/*.mp4"))) >= 2
    figure(submitted_s=round(submitted_s), stop_s=round(time.monotonic() - began, 1), finished_then=len(rows))
