"""Whether a process of this machine is alive or gone is known."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from longtake.pipelines.files.owner import Owner, this_process

PROGRAM = """
import json
from longtake.pipelines.files.owner import this_process
print(json.dumps(this_process().plain()), flush=True)
input()
"""


@pytest.mark.report("B5")
def test_a_process_is_alive_until_it_is_killed():
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    owner = Owner.of(json.loads(process.stdout.readline()))
    assert owner.is_alive() is True and owner.pid == process.pid
    process.kill()
    while owner.is_alive():
        pass
    assert owner.is_alive() is False  # not reaped yet
    process.communicate()
    assert owner.is_alive() is False


def test_a_pid_that_was_used_again_is_another_process():
    assert replace(this_process(), started="1").is_alive() is False


def test_nothing_is_known_of_another_machine():
    assert replace(this_process(), kernel="another boot").is_alive() is None
    assert replace(this_process(), kernel="").is_alive() is None
    assert Owner.of({"pid": 1, "unknown": 2}) is None and Owner.of(None) is None
