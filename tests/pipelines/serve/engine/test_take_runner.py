"""The takes that are refused before any actor is asked."""

from longtake.actors.pool import Pool
from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.engine.take_runner import TakeRunner
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.takes import Take, Takes, new_id
from longtake.pipelines.serve.settings import load_serve


def test_a_continuation_of_an_upload_is_not_made_without_the_refiner_that_joins_it(tmp_path):
    """It waited while the endpoint was restarted with other settings."""
    conf, takes, ends = load_serve(overrides=["refiner.enabled=false"]), Takes(Store(tmp_path)), []
    pools = {name: Pool(name, lambda index: None, 0) for name in ("base", "refiner", "writer")}
    runner = TakeRunner(conf, pools, "", takes, lambda take, error: ends.append(error))
    file = InputFile(kind=InputKind.VIDEO, num_bytes=9, width=64, height=64, num_frames=50, fps="8")
    size = {"height": conf.refiner.size[0], "width": conf.refiner.size[1], "fps": 8, "seed": 0, "created_at": 0}
    take = Take(id=new_id(), prompt="a", num_frames=82, coupling=Coupling.CAUSAL, input=file, **size)
    runner.begin(take, EventLog())
    reason = "refiner.enabled=false: to extend a video, the refiner joins new frames to its own"
    assert runner.num_takes == 0 and ends == [("generation_failed", reason)]
