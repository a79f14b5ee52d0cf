"""A bulk job on toy stages in a process of its own: `python -m tests.support.bulk_driver SECONDS key=value ...`.

RAY_ADDRESS names its cluster. With LEASE=short the lock of a folder in a bucket expires two seconds after a kill. Its
last line of output has the numbers of videos made, failed and skipped.
"""

import logging
import os
import sys
from pathlib import Path

import longtake.pipelines.files.folder_lock
from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.command import run
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.files.folder_lock import LeaseTimes
from longtake.pipelines.terminal.signals import Stopped
from tests.support.ray_toys import ToyFactory

TOY = ("refiner.num_inference_steps=4", "refiner.height=32", "refiner.width=32", "tracking.enabled=false")


def factories(**toy):
    return {stage: ToyFactory(stage, rgb=True, **toy) for stage in ("base", "refiner")}


def run_job(prompts: Path, out: Path | str, *overrides: str, **toy):
    """Runs a job in this process; returns its tally."""
    conf = load_bulk(overrides=[f"prompts={prompts}", f"out={out}", *TOY, *overrides])
    return run(check(conf), factories(**toy))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    conf = load_bulk(overrides=[*TOY, *sys.argv[2:]])
    if os.environ.get("LEASE") == "short":
        longtake.pipelines.files.folder_lock.TIMES = LeaseTimes(renew_s=0.3, dead_s=2.0, settle_s=0.5)
    try:
        tally = run(check(conf), factories(seconds=float(sys.argv[1])))
        print(tally.done, tally.failed, tally.skipped)
    except Stopped as stop:
        sys.exit(f"stopped: {stop}")
