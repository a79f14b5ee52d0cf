"""A run in MLflow's store. The only file that imports mlflow.

Everything here waits for the store and raises what it raises.
"""

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

from longtake.pipelines.tracking.text import masked

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

KEY_TAG = "longtake.key"
MAX_POINTS_BATCH = 1000  # in one call, MLflow's limit
MAX_FACTS_BATCH = 100  # params or tags in one call, MLflow's limit


@dataclass(frozen=True, slots=True)
class Point:
    """One measured number. Without a step: seconds since the run began."""

    key: str
    value: float
    time_ms: int
    step: int | None


class MlflowRun:
    """A run in the store. Every method can be repeated with the same arguments."""

    def __init__(self, client: Any, run: Any, monitors: Sequence[Any]) -> None:
        self.client, self.run_id = client, run.info.run_id
        self._began_ms: int = run.info.start_time
        self._params: dict[str, str] = dict(run.data.params)
        self._tags: dict[str, str] = dict(run.data.tags)
        self._monitors = monitors

    def params(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        new, changed = self._compare(values, self._params)
        for part in _batches(new):
            self.client.log_batch(self.run_id, params=[Param(*item) for item in part.items()])
            self._params |= part
        self.tags(changed)

    def origin(self, values: Mapping[str, str]) -> None:
        """Tags on the origin of the results: the first ones stay, later ones stand beside them."""
        new, changed = self._compare(values, self._tags)
        self.tags(new | changed)

    def tags(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for part in _batches(values):
            self.client.log_batch(self.run_id, tags=[RunTag(*item) for item in part.items()])
            self._tags |= part

    def _compare(self, values: Mapping[str, str], known: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Values not known yet, and, under `changed.KEY`, those that differ from the last value."""
        last = {key: self._tags.get(f"changed.{key}", known.get(key)) for key in values}
        new = {key: value for key, value in values.items() if last[key] is None}
        changed = {f"changed.{k}": value for k, value in values.items() if k not in new and last[k] != value}
        return new, changed

    def points(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.time_ms, self._step(point)) for point in points]
        self.client.log_batch(self.run_id, metrics=metrics)

    def _step(self, point: Point) -> int:
        return (point.time_ms - self._began_ms) // 1000 if point.step is None else point.step

    def file(self, data: bytes | Path, place: str) -> None:
        """Uploads a file. MLflow keeps its name, so it gets the name of `place` in a temporary folder."""
        at = PurePosixPath(place)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, at.name)
            if isinstance(data, bytes):
                path.write_bytes(data)
            else:
                path.symlink_to(data.absolute())
            self.client.log_artifact(self.run_id, str(path), None if at.parent == PurePosixPath() else str(at.parent))

    def machine(self) -> list[Point]:
        """The system metrics of MLflow's pages, measured now."""
        # MLflow's own thread for them ends at the first call that fails, and its end waits for the store without limit.
        now = now_ms()
        values: dict[str, float] = {}
        for monitor in self._monitors:
            with suppress(Exception):  # a device that fails has no metrics
                monitor.collect_metrics()
                values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return [Point(f"system/{key}", value, now, None) for key, value in values.items()]

    def end(self, status: Status) -> None:
        self.client.set_terminated(self.run_id, status)


def begin_run(
    uri: str, key: str, experiment: str, name: str, began_ms: int, resumed: bool, system_metrics: bool
) -> MlflowRun:
    """The run with this key, running again, or a new run named `name`."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment_id = _experiment(client, experiment, uri)
    run = next(iter(client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)), None)
    if run is not None:
        client.update_run(run.info.run_id, "RUNNING")
    else:
        run = client.create_run(experiment_id, began_ms, {KEY_TAG: key}, name)
        if resumed:
            logger.warning("tracking: experiment %s has no run with key %s: starting a new one", experiment, key)
    logger.info("tracked as MLflow run %s in %s", run.info.run_name or run.info.run_id, masked(uri))
    return MlflowRun(client, run, _monitors() if system_metrics else ())


def _experiment(client: Any, name: str, uri: str) -> str:
    """The experiment's id. Artifacts of a local store go beside its file; a server decides itself."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, _artifacts_beside(uri)))


def _artifacts_beside(uri: str) -> str | None:
    """The URI of the folder of artifacts beside a sqlite file; None for other stores."""
    if not uri.startswith("sqlite:///"):
        return None
    file = unquote(uri.removeprefix("sqlite:///").partition("?")[0])  # as SQLAlchemy reads it
    return (Path(file).absolute().parent / "mlflow-artifacts").as_uri()


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = []
    kinds: tuple[Any, ...] = (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor)
    for kind in kinds:
        with suppress(Exception):  # no GPU, no driver or no nvidia-ml-py: each raises something else
            monitors.append(kind())
    return monitors


def is_final(error: Exception) -> bool:
    """Whether a retry is useless: the request is at fault, not the store."""
    from mlflow.exceptions import MlflowException

    answer: Any = error
    if isinstance(error, MlflowException):
        status = answer.get_http_status_code()
    else:
        status = getattr(getattr(answer, "response", None), "status_code", 0)
    # 401, 403: the credentials may be renewed; 408, 429: it may work later
    return isinstance(error, FileNotFoundError | PermissionError) or (
        400 <= status < 500 and status not in (401, 403, 408, 429)
    )


def _batches(values: Mapping[str, str]) -> list[dict[str, str]]:
    items = list(values.items())
    return [dict(items[i : i + MAX_FACTS_BATCH]) for i in range(0, len(items), MAX_FACTS_BATCH)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000
