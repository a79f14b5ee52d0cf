"""The MLflow run of a job: begun by the first attempt, continued by every later one."""

import importlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from longtake.pipelines.files.store import Store
from longtake.pipelines.tracking.mlflow_run import begin_run, now_ms
from longtake.pipelines.tracking.origin import JobKind, origin_tags
from longtake.pipelines.tracking.settings import TrackingParams
from longtake.pipelines.tracking.tracker import Tracker

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # a new sqlite store reports its tables; we log ourselves what matters
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the Tracker retries; urllib3 would log a line for each retry
}


@contextmanager
def job_run(
    params: TrackingParams,
    store: Store,
    file: str,
    kind: JobKind,
    settings: Mapping[str, object],
    also: Mapping[str, object] | None = None,
) -> Iterator[Tracker]:
    """The tracker of a job, ended with it; `settings` become params of the run.

    `file`, in the job's folder, holds the key of the run as "run", beside the fields of `also`. A job that is started
    again finds it there and continues the same run.
    """
    known = json.loads(store.get(file)) if store.exists(file) else {}
    with open_tracker(params, store.local_path, kind, known.get("run")) as tracker:
        store.put(file, json.dumps({**(also or {}), "run": tracker.key}, indent=1).encode())
        tracker.params({name: value for name, value in settings.items() if not name.startswith("tracking.")})
        yield tracker


def open_tracker(params: TrackingParams, folder: Path | None, kind: JobKind, key: str | None = None) -> Tracker:
    """Begins the run of a job, or continues the run that an earlier Tracker with this `key` began.

    `folder` is the local output folder, which gets `mlflow.db` and `mlflow-artifacts` unless the settings name another
    store; None stands for the working directory. Raises ValueError for a key that no Tracker made.
    """
    if key is not None and not re.fullmatch(r"[\w-]{1,64}", key, re.ASCII):
        raise ValueError(f"key={key!r}: must be the key of an earlier tracker: letters, digits, - and _")
    resumed, key = key is not None, key or uuid.uuid4().hex  # random: it names one run, and every run is another
    if not params.enabled:
        return Tracker(key, None, params.interval_s)
    uri = _store_uri(params, folder)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # 2 s, and not in the thread: of two threads that import pandas at once, each may see the other's half of it.
    importlib.import_module("mlflow")
    name = params.name or f"{kind}-{key[:8]}"
    begin = partial(begin_run, uri, key, params.experiment, name, now_ms(), resumed, params.system_metrics)
    tracker = Tracker(key, begin, params.interval_s)
    tracker.origin(origin_tags(kind))
    return tracker


def _store_uri(params: TrackingParams, folder: Path | None) -> str:
    uri = params.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    file = str((folder or Path()).absolute() / "mlflow.db")
    # SQLAlchemy decodes %XX and ends the path at `?`. MLflow decodes nothing and would create the parent folder of the
    # encoded path; with encoded slashes there is no parent.
    return f"sqlite:///{quote(file, safe='') if set('%?#') & {*file} else file}"
