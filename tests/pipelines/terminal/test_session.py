"""What libraries print goes to a file; our lines and results stay. In processes of their own: pytest takes noise."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.places import ROOT

PROGRAM = r"""
import logging, os, sys, threading, warnings
from longtake.pipelines.terminal.session import session
with session("test", debug=len(sys.argv) > 1):
    logging.getLogger("longtake.pipelines.bulk").info("12 rows\nto make")
    logging.getLogger("alembic").warning("noise of a library")
    warnings.warn("noise of a warning")
    os.write(2, b"noise of C++ on stderr\n")
    os.write(1, b"noise of C++ on stdout\n")
    print("noise of a bar", file=sys.stderr)
    for target in (lambda: 1 / 0, lambda: print("noise of a thread")):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    print("the result")
print("after it", file=sys.stderr)
"""
NOISE = ("a library", "a warning", "C++ on stderr", "C++ on stdout", "a bar", "a thread")


def run(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", PROGRAM, *args], env=env, capture_output=True, text=True, check=True)


@pytest.mark.report("B8", "B16")
def test_only_our_own_lines_are_on_the_terminal(tmp_path):
    ran = run(tmp_path)
    first, second, last = ran.stderr.splitlines()
    assert ran.stdout == "the result\n" and second.endswith(" 12 rows to make") and last == "after it"
    path = Path(re.search(rf"what libraries print is in ({tmp_path}/.*\.log)$", first)[1])
    log = path.read_text()
    assert all(f"noise of {noise}" in log for noise in NOISE)
    assert "ZeroDivisionError" in log and "12 rows" in log
    assert path.stat().st_mode & 0o777 == 0o600


def test_with_debug_everything_is_on_the_terminal(tmp_path):
    ran = run(tmp_path, "--debug")
    assert all(f"noise of {noise}" in ran.stderr + ran.stdout for noise in NOISE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.report("A15")
@pytest.mark.parametrize("seconds", [0, 1.5])
def test_a_command_that_is_refused_at_once_has_one_line_and_a_slow_check_says_that_it_goes_on(tmp_path, seconds):
    check = f"time.sleep({seconds}); raise ValueError('out=x: no')"
    program = f"""
import sys, time
from longtake.pipelines.bulk import checks
from longtake.pipelines.__main__ import run
def check(conf):
    {check}
checks.check = check
sys.exit(run())
"""
    command = [sys.executable, "-c", program, "bulk", "prompts=p.txt", f"out={tmp_path}/out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    *before, last = ran.stderr.splitlines()
    assert ran.returncode == 2 and last == "longtake: error: out=x: no"
    if seconds:
        assert "what libraries print is in" in before[0] and "starting, " in before[1]
    assert len(list(tmp_path.glob("*.log"))) == bool(before)
    assert seconds or before == [] or "starting, " in before[1]  # on a machine where imports take more than a second


STATUS = r"""
import time
from longtake.pipelines.terminal.progress import doing
from longtake.pipelines.terminal.session import session
with session("test"):
    with doing("making videos"):
        time.sleep(2)
    print("the result")
"""


@pytest.mark.report("B3", "B16")
def test_a_result_on_a_terminal_has_a_line_of_its_own(tmp_path):
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", STATUS], env=env, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # at its end
        while piece := os.read(ours, 1 << 16):
            shown += piece
    os.close(ours)
    assert b"making videos, 1 s" in shown and b"\r\x1b[Kthe result\r\n" in shown
