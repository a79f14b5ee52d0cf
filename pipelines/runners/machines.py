"""Lines about machines that leave the cluster or come to it while a job runs."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

logger = logging.getLogger(__name__)
JOIN_S = 5.0
LOOK_S = 5.0  # Ray itself needs 15 s to declare a machine dead


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Lines for what changed between two lists of living machines, from id to name."""
    went = [f"machine {name} left the cluster: its calls are retried elsewhere" for id, name in before.items()
            if id not in now]  # fmt: skip
    came = [f"machine {name} joined the cluster" for id, name in now.items() if id not in before]
    return went + came


@contextmanager
def watched_machines() -> Iterator[None]:
    """Logs machines that join or leave while the block runs."""
    ended = threading.Event()
    # A daemon, so that it does not keep the process alive.
    thread = threading.Thread(target=_watch, args=(ended,), name="machines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(JOIN_S)  # it asks Ray, so it must end before Ray does


def _watch(ended: threading.Event) -> None:
    before: dict[str, str] | None = None
    failed = False
    while not ended.is_set():
        try:
            now = _living()
            for line in changes(now if before is None else before, now):
                logger.warning("%s", line)
            before, failed = now, False
        except Exception as error:  # the cluster is closing, or does not answer now
            if not failed and not ended.is_set():
                logger.warning("the machines of the cluster are unknown for now: %s", error)
            failed = True
        ended.wait(LOOK_S)


def _living() -> dict[str, str]:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            for node in nodes if node["Alive"]}  # fmt: skip
