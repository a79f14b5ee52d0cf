"""What all tests share. The variables are set before torch and transformers are imported anywhere."""

import os

# Two threads that wait for each other on a busy core take 20 times longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may ask a hub for anything

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a red CI is about the change that it tests. No deadline: CI shares its cores.
settings.register_profile("longtake", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("longtake")


def pytest_collection_modifyitems(items):
    """Long groups first, then slow tests: so all processes end at about the same time."""

    def rank(item):
        groups = [mark.args[0] for mark in item.iter_markers("xdist_group")]
        return 0 if "serve" in groups else 1 if "ray" in groups else 2 if item.get_closest_marker("slow") else 3

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests without a group are grouped by file: they share fixtures, which a second process would build again."""
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            return nodeid.rpartition("@")[2] if "@" in nodeid else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_finish(session):
    """Groups of tests have to hold: without them every worker starts a Ray and a browser of its own."""
    if hasattr(session.config, "workerinput") and session.config.getoption("loadgroup", False):
        grouped = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group")]
        lost = [name for name in grouped if "@" not in name]
        assert not lost, f"pytest-xdist does not know the groups of {len(lost)} tests, such as {lost[0]}"


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory):
    """Path of a bundle with random weights (see tests/support/random_bundle.py). Tests must not change it."""
    from tests.support.random_bundle import write_random_bundle

    return write_random_bundle(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="session")
def s3_url():
    """An empty bucket on loopback, which the workers of `ray_cluster` find too."""
    from tests.support.s3 import s3_bucket

    with s3_bucket() as url:
        yield url


@pytest.fixture
def threads():
    """Sets how many threads torch has in this process."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    """An empty Store, on a disk and in a bucket."""
    from longtake.pipelines.files.store import Store

    local = request.param == "local"
    return Store(tmp_path / "store" if local else f"{request.getfixturevalue('s3_url')}/{tmp_path.name}")


@pytest.fixture(scope="session")
def ray_cluster(s3_url, tmp_path_factory):
    """One Ray for all tests of a process, and actors that they share: starting them is most of what they cost.

    Tests that need it are in two xdist groups, about as long as each other: "serve" has the endpoint, "ray" the rest.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - it is spelled so
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_raylet_start_wait_time_s"] = "150"  # noqa: SIM112 - a busy machine needs more than 30 s
    import ray

    from tests.support.actor_shelf import shelved_actors

    ray.init("local", num_cpus=32, include_dashboard=False, log_to_driver=False)
    with shelved_actors(tmp_path_factory.mktemp("actors")):
        yield ray
    ray.shutdown()


@pytest.fixture
def own_actors(ray_cluster):
    """Pools of this test start actors of their own and end them, as outside of the tests."""
    from tests.support.actor_shelf import own_actors

    with own_actors():
        yield
