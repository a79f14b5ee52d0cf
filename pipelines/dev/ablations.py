"""`make ablations`: `longtake ablate` for docs/results, with the metrics that only moving shapes allow."""

import logging
import sys

from longtake.pipelines.ablation.command import run
from longtake.pipelines.ablation.jobs import check
from longtake.pipelines.ablation.settings import load_ablate
from longtake.pipelines.dev.attributes import attributes

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run(check(load_ablate(overrides=["out=docs/results", *sys.argv[1:]])), attributes)
