"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from longtake.pipelines.train.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for i in range(21):
    if i == 1:  # the first one comes from the kernel
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(6_000_000)  # 48 MB, more than glibc keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_blocks_that_are_freed_are_not_asked_for_again():
    assert faults("keep") < faults("as it is") / 4  # 480 with huge pages, else 240,000
