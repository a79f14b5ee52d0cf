"""Calls that hang, or whose actor dies each time, as a runner meets them."""

import numpy as np
import pytest

from longtake.models.domain.scheduler import Coupling
from tests.pipelines.runners.test_local import frames_of
from tests.pipelines.runners.test_ray_runner import conf_of, local, running, spec_of
from tests.support.ray_toys import ToyFactory

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.report("B6")
def test_a_call_that_hangs_is_made_again_elsewhere(ray_cluster, tmp_path, caplog):
    caplog.set_level("INFO", "longtake")
    hangs = ToyFactory("refiner", hang_once=str(tmp_path / "hung"))
    with running(conf_of("ray.task_timeout_s=3"), None, hangs) as runner:
        np.testing.assert_array_equal(frames_of(runner.stream(spec_of("a"))), local(80, Coupling.SYMMETRIC))
    assert (tmp_path / "hung").exists()
    assert "its actor is restarting: window 0 of a, steps" in caplog.text
    assert "it took longer than ray.task_timeout_s=3" in caplog.text
    assert "call retried, attempt 2 of" in caplog.text


@pytest.mark.report("B6")
def test_a_call_that_always_dies_ends_its_video_after_max_attempts(ray_cluster, caplog):
    with (
        running(conf_of("ray.max_attempts=2"), ToyFactory("base", kill=1.0)) as runner,
        pytest.raises(RuntimeError, match="a call was tried 2 times"),
    ):
        list(runner.stream(spec_of("a")))
    assert "call lost, its actor died and is restarting: chunk 0 of a (base actor 0)" in caplog.text
