"""Checks of a bulk job before anything is started, without torch or Ray."""

import json
from dataclasses import dataclass

from longtake.pipelines.bulk.paths import SETTINGS
from longtake.pipelines.bulk.settings import BulkConf, differences, job_settings
from longtake.pipelines.datasets.prompt_files import find_files
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import settled
from longtake.pipelines.runners.model_folders import weights_hash


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A bulk job that has been checked and can run."""

    conf: BulkConf
    store: Store  # for the output
    bundle_sha256: str


def check(conf: BulkConf) -> PreparedJob:
    """Raises ValueError naming field, value and rule, also when `out` holds a job with other settings."""
    conf = settled(conf)
    find_files(conf.prompts)
    store = Store(conf.out)
    store.check("out")
    prepared = PreparedJob(conf, store, weights_hash(conf))
    check_same(prepared)
    return prepared


def check_same(prepared: PreparedJob) -> None:
    """Raises ValueError if the output folder holds a job with other settings."""
    conf, store = prepared.conf, prepared.store
    if not store.exists(SETTINGS):
        return
    before = json.loads(store.get(SETTINGS))
    changed = differences(before["settings"], json.loads(json.dumps(job_settings(conf, prepared.bundle_sha256))))
    if changed:
        raise ValueError(
            f"out={conf.out} holds a job with other settings: {'; '.join(changed)}. "
            "Use the same settings, or another out"
        )
