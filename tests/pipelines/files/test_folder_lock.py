"""Exclusive access to a folder, on a disk and in a bucket."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from longtake.pipelines.files.folder_lock import LEASE, LeaseTimes, exclusive
from longtake.pipelines.files.store import Store
from longtake.pipelines.terminal.exit_codes import Refused
from tests.support.places import ROOT

QUICK = LeaseTimes(renew_s=0.2, dead_s=1.5, settle_s=0.3, look_s=0.1)

HOLDS = """
import sys, time
from longtake.pipelines.files.folder_lock import LeaseTimes, exclusive
from longtake.pipelines.files.store import Store
with exclusive(Store(sys.argv[1]), times=LeaseTimes(renew_s=0.2)):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(store):
    """A Store whose folder exists."""
    store.put("job.json", b"{}")
    return store


@pytest.fixture
def bucket(s3_url, tmp_path):
    return Store(f"{s3_url}/{tmp_path.name}")


ELSEWHERE = {"host": "elsewhere", "pid": 7, "kernel": "another", "started": "1"}


def write_lease(store, token, age_s, owner=None):
    store.put(LEASE, json.dumps({"token": token, "renewed_s": time.time() - age_s, "owner": owner}).encode())


def lease_of(store):
    return json.loads(store.get(LEASE))


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_second_one_is_refused_until_the_first_has_ended(folder):
    with exclusive(folder, times=QUICK) as hold:
        refusal = "^out=.*: another job is already writing there"
        with pytest.raises(ValueError, match=refusal), exclusive(folder, times=QUICK):
            pass
        assert not hold.lost
    with exclusive(folder, times=QUICK):
        pass
    assert not folder.exists(LEASE)


def test_the_refusal_names_who_else_may_be_there(folder):
    refusal = r"library=.*: another endpoint is already writing there"
    with (
        exclusive(folder, times=QUICK),
        pytest.raises(ValueError, match=refusal),
        exclusive(folder, "library", "another endpoint"),
    ):
        pass


def test_the_folder_is_free_again_after_an_error(folder):
    with pytest.raises(OSError, match="disk full"), exclusive(folder, times=QUICK):
        raise OSError("disk full")
    with exclusive(folder, times=QUICK):
        pass


def test_a_lease_outlives_its_time_for_as_long_as_its_holder_works(bucket):
    with exclusive(bucket, times=QUICK) as hold:
        began = lease_of(bucket)
        wait_until(lambda: lease_of(bucket)["renewed_s"] > began["renewed_s"] + 2 * QUICK.dead_s)
        with pytest.raises(ValueError, match="another job"), exclusive(bucket, times=QUICK):
            pass
        assert not hold.lost and lease_of(bucket)["token"] == began["token"]


@pytest.mark.report("B5")
def test_the_refusal_names_the_process_that_holds_the_folder(folder):
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with (
        exclusive(folder, times=QUICK),
        pytest.raises(Refused, match=f"another job is already writing there: {who}$"),
        exclusive(folder, times=QUICK),
    ):
        pass


@pytest.mark.report("B5")
def test_a_lease_of_another_machine_is_waited_for_and_taken_when_nobody_renews_it(bucket, caplog):
    caplog.set_level(logging.INFO)
    write_lease(bucket, "gone", age_s=0, owner=ELSEWHERE)
    began = time.monotonic()
    with exclusive(bucket, times=QUICK):
        assert time.monotonic() - began > 1.2
    assert "process 7 on elsewhere was active 0 s ago and may be gone: waiting up to" in caplog.text
    assert "taking over the lease of process 7 on elsewhere" in caplog.text


def test_a_clock_that_is_ahead_holds_a_folder_no_longer(bucket):
    write_lease(bucket, "gone", age_s=-1e9)
    with exclusive(bucket, times=QUICK):
        pass


@pytest.mark.report("B5")
def test_a_lease_that_is_renewed_meanwhile_is_refused(bucket):
    write_lease(bucket, "alive", age_s=0, owner=ELSEWHERE)
    renewal = threading.Timer(0.5, write_lease, (bucket, "alive", 0, ELSEWHERE))
    renewal.start()
    with pytest.raises(Refused, match="process 7 on elsewhere"), exclusive(bucket, times=QUICK):
        pass
    renewal.join()


@pytest.mark.report("B5")
def test_the_lease_of_a_killed_process_of_this_machine_is_taken_at_once(bucket):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDS, bucket.url]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Refused, match=f"process {process.pid} on"), exclusive(bucket):
        pass
    process.kill()
    began = time.monotonic()
    with exclusive(bucket, times=LeaseTimes(settle_s=0.3)):  # its parent, this process, has not even asked about it
        assert time.monotonic() - began < 20  # the time of a dead lease is 60 s
    process.communicate()
    assert not bucket.exists(LEASE)


class SlowStore(Store):
    """Before its first overwrite it waits until all others have come as far, and then for `seconds`."""

    def __init__(self, url, together, seconds):
        super().__init__(url)
        self.together, self.seconds, self.begun = together, seconds, False

    def put(self, path, data):
        if not self.begun:
            self.begun = True
            self.together.wait(20)
            time.sleep(self.seconds)
        super().put(path, data)


@pytest.mark.parametrize("dead", [True, False])
def test_of_many_who_come_at_once_one_gets_the_folder(bucket, dead):
    if dead:
        write_lease(bucket, "gone", age_s=60)
    together, ended = threading.Barrier(6), threading.Event()

    def come(i):
        with ExitStack() as stack:
            one = SlowStore(bucket.url, together, 0.1 * i) if dead else bucket
            try:
                stack.enter_context(exclusive(one, times=LeaseTimes(renew_s=5, dead_s=30, settle_s=2, look_s=0.2)))
            except ValueError:
                return False
            ended.wait(20)  # holds the folder while the others try
            return True

    with ThreadPoolExecutor(6) as pool:
        came = [pool.submit(come, i) for i in range(6)]
        try:
            wait_until(lambda: sum(one.done() for one in came) >= 5)
        finally:
            ended.set()
        assert sorted(one.result() for one in came) == [False] * 5 + [True]


def test_a_holder_whose_folder_was_taken_over_learns_of_it_and_leaves_the_lease_alone(bucket, caplog):
    with exclusive(bucket, times=QUICK) as hold:
        write_lease(bucket, "another", age_s=0)
        wait_until(lambda: hold.lost)
    assert lease_of(bucket)["token"] == "another"
    assert "another process has taken over the folder" in caplog.text


def test_a_lease_that_was_deleted_by_hand_is_written_again(bucket):
    with exclusive(bucket, times=QUICK) as hold:
        bucket.delete(LEASE)
        wait_until(lambda: bucket.exists(LEASE))
        assert not hold.lost


def test_a_store_that_is_away_for_a_while_costs_a_warning(bucket, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("no route to host")

    with exclusive(bucket, times=QUICK) as hold:
        before = lease_of(bucket)["renewed_s"]
        with monkeypatch.context() as away:
            away.setattr(Store, "get", refuse)
            wait_until(lambda: "could not be renewed: no route to host" in caplog.text)
        wait_until(lambda: lease_of(bucket)["renewed_s"] > before)
        assert not hold.lost


def test_a_job_ends_at_once_though_its_store_is_away(bucket, monkeypatch, caplog):
    def away(*args):
        raise ConnectionResetError("the store is away")

    with exclusive(bucket, times=LeaseTimes(renew_s=60)):
        monkeypatch.setattr(bucket._fs, "cat_file", away)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert "could not be given back and expires by itself: the store is away" in caplog.text


def test_a_lease_that_is_given_back_meanwhile_is_not_called_dead(bucket, caplog):
    write_lease(bucket, "ending", age_s=0, owner=ELSEWHERE)
    ending = threading.Timer(0.5, bucket.delete, (LEASE,))
    ending.start()
    with exclusive(bucket, times=QUICK):
        pass
    ending.join()
    assert "taking over" not in caplog.text


@pytest.mark.parametrize("content", [b"{}", b"[]", b"not JSON"])
def test_a_file_that_is_no_lease_is_refused_by_name(bucket, content):
    bucket.put(LEASE, content)
    with pytest.raises(Refused, match=r"/\.lease: it is not the lease of a job .*; delete it"), exclusive(bucket):
        pass
