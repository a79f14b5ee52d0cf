"""`longtake bulk` on toy stages in a process of its own: `python -m tests.support.bulk_driver SECONDS key=value ...`.

RAY_ADDRESS names its cluster. `SECONDS` is the duration of a call of a stage.
"""

import sys
from pathlib import Path

from longtake.pipelines.__main__ import main
from longtake.pipelines.bulk import command
from longtake.pipelines.bulk.checks import PreparedJob, check
from longtake.pipelines.bulk.command import run
from longtake.pipelines.bulk.records import Tally
from longtake.pipelines.bulk.settings import load_bulk
from tests.support.ray_toys import ToyFactory

TOY = ("refiner.num_inference_steps=4", "refiner.height=32", "refiner.width=32", "tracking.enabled=false")


def factories(**toy):
    return {stage: ToyFactory(stage, rgb=True, **toy) for stage in ("base", "refiner")}


def run_job(prompts: Path, out: Path | str, *overrides: str, **toy):
    """Runs a job in this process; returns its tally."""
    conf = load_bulk(overrides=[f"prompts={prompts}", f"out={out}", *TOY, *overrides])
    return run(check(conf), factories(**toy))


def run_toys(prepared: PreparedJob) -> Tally:
    return run(prepared, factories(seconds=float(sys.argv[1])))


if __name__ == "__main__":
    command.run = run_toys
    sys.exit(main(["bulk", *TOY, *sys.argv[2:]]))
