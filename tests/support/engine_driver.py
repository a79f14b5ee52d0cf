"""An engine on toy stages, here or in a process of its own.

    python -m tests.support.engine_driver FOLDER SECONDS [take.json ...]

RAY_ADDRESS names its cluster. It submits the takes, prints `ready`, and ends when all takes have ended.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from longtake.models.domain.plan import PlanParams
from longtake.models.domain.scheduler import Coupling, StageName
from longtake.models.video.mp4 import Mp4Encoder, plain
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.local import LocalRunner
from longtake.pipelines.serve.engine.engine import Engine
from longtake.pipelines.serve.library.takes import Take, Takes, new_id, read_take
from longtake.pipelines.serve.settings import load_serve
from tests.pipelines.runners.test_local import NUM_STEPS
from tests.support.engine_toys import HIGH, LinkedBase, LinkedRefiner, linked


def conf_of(takes, *overrides):
    size = (f"refiner.num_inference_steps={NUM_STEPS}", f"refiner.height={HIGH}", f"refiner.width={HIGH}")
    return load_serve(overrides=[*size, f"serve.takes={takes}", "ray.start_timeout_s=60", *overrides])


def take_of(num_frames=56, prompt="a red circle", coupling=Coupling.CAUSAL, seed=7, **fields):
    size = {"fps": 8, "width": HIGH, "height": HIGH, "created_at": int(time.time())}
    return Take(id=new_id(), prompt=prompt, num_frames=num_frames, coupling=coupling, seed=seed, **size, **fields)


def local_bytes(take):
    """(joined fragments, plain file) from the local runner for the same request."""
    stages = {StageName.GENERATE: LinkedBase(), StageName.REFINE: LinkedRefiner()}
    runner = LocalRunner(stages, PlanParams(), NUM_STEPS, take.coupling)
    encoder = Mp4Encoder(take.fps, take.width, take.height)
    fragments = [encoder.encode(segment.frames) for segment in runner.stream(replace(take.spec, settings=()))]
    return b"".join(fragments), plain(fragments)


def started(conf, **toy):
    """(engine, takes), when the engine is ready."""
    takes = Takes(Store(conf.serve.takes))
    engine = Engine(conf, takes, linked(**toy))
    engine.start()
    while engine.state == "starting":
        time.sleep(0.02)
    assert engine.state == "ready", engine.why
    return engine, takes


def main(folder, seconds, *paths):
    engine, takes = started(conf_of(folder), seconds=float(seconds))
    for path in paths:
        engine.submit(read_take(Path(path).read_bytes()))
    print("ready", flush=True)
    while any(take.is_active for take in takes.all()):
        time.sleep(0.02)
    print(json.dumps({take.id: take.status for take in takes.all()}), flush=True)
    engine.close(5)


if __name__ == "__main__":
    main(*sys.argv[1:])
