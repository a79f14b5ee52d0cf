"""A pool whose actors cannot be built."""

import pytest

from tests.pipelines.runners.test_ray_runner import conf_of, running
from tests.support.ray_toys import ToyFactory

pytestmark = pytest.mark.xdist_group("ray")


def test_actors_that_cannot_be_built_are_one_error_with_the_reason(ray_cluster):
    with (
        pytest.raises(RuntimeError, match="the refiner actors cannot start: bundle=x is broken"),
        running(conf_of("ray.refiner.num_actors=2"), None, ToyFactory("refiner", broken="bundle=x is broken")),
    ):
        pass
