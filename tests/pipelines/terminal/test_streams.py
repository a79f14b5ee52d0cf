"""Output never ends a command, in processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT

PRINTS = "import sys; print('take \\u4e2d.mp4'); print('\\u2026 \\udce9', file=sys.stderr)"
PROGRAM = f"from longtake.pipelines.terminal import streams; streams.protect(); {PRINTS}; sys.exit(streams.finish(0))"


def run(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command line of bash in which `$PY` runs a program."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable, "PROGRAM": PROGRAM, **env}
    return subprocess.run(["bash", "-c", command], env=given, capture_output=True, encoding="latin-1", timeout=60)


@pytest.mark.report("C18")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_character_can_be_printed_in_every_encoding(encoding):
    ran = run('"$PY" -c "$PROGRAM"', PYTHONIOENCODING=encoding)
    assert ran.returncode == 0 and ran.stdout.startswith("take ") and "\\udce9" in ran.stderr


@pytest.mark.report("C18")
@pytest.mark.parametrize("end", [">&-", "2>&-", "<&- >&- 2>&-", "| true", "2>&1 | true", "2>/dev/full"])
def test_a_reader_that_left_is_no_failure(end):
    ran = run(f'set -o pipefail; "$PY" -c "import time; time.sleep(.2); $PROGRAM" {end}')
    assert ran.returncode == 0 and "Traceback" not in ran.stderr


@pytest.mark.report("B8")
def test_a_result_that_cannot_be_written_is_one_line_that_names_stdout():
    ran = run('"$PY" -m longtake.pipelines plan --num-frames 40 >/dev/full')
    assert ran.returncode == 1 and "No space left on device: 'stdout'" in ran.stderr and "Traceback" not in ran.stderr
