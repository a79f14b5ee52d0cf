"""A bulk job on two machines (raylets), one of which is killed in the middle; prints measurements as JSON."""

import json
import logging
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.support.bulk_driver import run_job

COUNT = 16


def main(folder: Path) -> None:
    logging.basicConfig(level=logging.WARNING)
    prompts = folder / "prompts.jsonl"
    rows = ({"id": f"v{i:02}", "prompt": f"a red circle {i}", "num_frames": 120} for i in range(COUNT))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    second = cluster.add_node(num_cpus=3)
    ray.init(cluster.address, log_to_driver=False)
    # Both machines hold actors of both pools; without the killed one, the job finishes on the other.
    pools = ("ray.strategy=SPREAD", "ray.base.num_actors=2", "ray.refiner.num_actors=3")
    run_job(prompts, folder / "calm", *pools)

    def kill() -> None:
        while len(list(folder.glob("killed/manifest/_records/*/*.json"))) < 3:
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    began = time.monotonic()
    tally = run_job(prompts, folder / "killed", *pools, seconds=0.02)
    import pandas as pd

    attempts = pd.read_parquet(folder / "killed" / "manifest").attempts
    figures = {"videos": COUNT, "done": tally.done, "seconds": round(time.monotonic() - began)}
    print(json.dumps({**figures, "retries": int((attempts - 1).sum())}), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
