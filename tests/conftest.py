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


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory):
    """Path of a bundle with random weights (see tests/random_bundle.py). Tests must not change it."""
    from tests.random_bundle import write_random_bundle

    return write_random_bundle(tmp_path_factory.mktemp("random"))
