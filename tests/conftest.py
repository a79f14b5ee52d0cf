"""Fixtures and settings of all tests. The variables are set before torch and transformers are imported."""

import os
import resource
import shutil

# Two threads that wait for each other on a busy core take 20 times longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may use a model hub

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a failure of CI is due to the change under test. No deadline: CI shares its cores.
settings.register_profile("longtake", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("longtake")


def pytest_collection_modifyitems(items):
    """Long groups first, then slow tests, so that all processes end at about the same time."""

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
    """Fails if pytest-xdist ignores the groups: every process would start its own Ray and browser."""
    if hasattr(session.config, "workerinput") and session.config.getoption("loadgroup", False):
        grouped = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group")]
        lost = [name for name in grouped if "@" not in name]
        assert not lost, f"pytest-xdist ignores the groups of {len(lost)} tests, such as {lost[0]}"


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory):
    """The path of a bundle with random weights (tests/support/random_bundle.py). Tests must not change it."""
    from tests.support.random_bundle import write_random_bundle

    return write_random_bundle(tmp_path_factory.mktemp("random"))


@pytest.fixture
def copy_of_random_bundle(random_bundle, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(random_bundle, tmp_path / "copy")


@pytest.fixture(scope="session")
def random_opener(tmp_path_factory):
    """The path of a text-to-video folder with random weights, whose frames are 48x80. Tests must not change it."""
    from tests.support.random_bundle import write_random_opener

    return write_random_opener(tmp_path_factory.mktemp("opener"))


@pytest.fixture(scope="session")
def s3_url():
    """The URL of an empty bucket on loopback, also visible to the workers of `ray_cluster`."""
    from tests.support.s3 import s3_bucket

    with s3_bucket() as url:
        yield url


@pytest.fixture
def threads():
    """A function that sets the number of torch's threads; undone after the test."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    """An empty Store, on disk and in a bucket."""
    from longtake.pipelines.files.store import Store

    local = request.param == "local"
    return Store(tmp_path / "store" if local else f"{request.getfixturevalue('s3_url')}/{tmp_path.name}")


@pytest.fixture(scope="session")
def ray_cluster(s3_url, tmp_path_factory):
    """One Ray for all tests of a process, and actors that they share, since starting them is most of the cost.

    Tests that need it form two xdist groups of about the same length: "serve" for most of the endpoint, "ray" for the
    rest.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's spelling
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_raylet_start_wait_time_s"] = "150"  # noqa: SIM112 - a busy machine needs more than 30 s
    import ray

    from longtake.pipelines.serve.http.backpressure import PROXY_CALLBACK
    from tests.support.actor_shelf import shelved_actors

    os.environ[PROXY_CALLBACK] = "longtake.pipelines.serve.http.backpressure.proxy_middleware"  # as `longtake serve`
    ray.init("local", num_cpus=32, include_dashboard=False, log_to_driver=False)
    with shelved_actors(tmp_path_factory.mktemp("actors")):
        yield ray
    ray.shutdown()


@pytest.fixture
def own_actors(ray_cluster):
    """Makes pools start and end actors of their own, as outside the tests."""
    from tests.support.actor_shelf import own_actors

    with own_actors():
        yield


@pytest.fixture
def full_disk():
    """A limit on file sizes: like a full disk, it makes write() fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
