"""Checks of a bulk job before anything is started, without torch or Ray."""

import json
import logging
import re
from dataclasses import dataclass

from longtake.pipelines.bulk.paths import SETTINGS
from longtake.pipelines.bulk.settings import BulkConf, Format, differences, job_settings
from longtake.pipelines.config.provenance import weights_of
from longtake.pipelines.datasets.manifest import Manifest
from longtake.pipelines.datasets.prompt_files import find_files
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import settled

UNKNOWN = "so nothing says with which bundle and settings its videos were made: put that file back, or use another out"

# What is no plain path for a reader of datasets, tried with datasets 5.2 and webdataset 1.0. They find nothing at such
# a place, or the files of other folders too.
MISREAD = {"Hugging Face's load_dataset": r"\[.+\]|[*?]|::", "webdataset": r"[?#{}\\]|::"}

logger = logging.getLogger(__name__)


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
    prepared = PreparedJob(conf, store, weights_of(conf))
    check_same(prepared)
    if misread := _misread(store, conf.format):
        logger.warning("out=%s: %s; read the dataset from a path without that", conf.out, misread)
    return prepared


def _misread(store: Store, format: Format) -> str:
    """A clause on the readers that take the path of `out` for a pattern; empty if none does."""
    path = str(store.local_path or store.url.rpartition("://")[2])
    readers = [name for name in MISREAD if name != "webdataset" or format is Format.WEBDATASET]
    found = {reader: list(dict.fromkeys(re.findall(MISREAD[reader], path))) for reader in readers}
    said = {reader: " and ".join(map(repr, texts)) for reader, texts in found.items() if texts}
    return ", and ".join(f"{reader} takes {texts} for a pattern" for reader, texts in said.items())


def check_same(prepared: PreparedJob) -> None:
    """Raises ValueError if the output folder holds a job with other settings, or with settings that are not known."""
    conf, store = prepared.conf, prepared.store
    if not store.exists(SETTINGS):
        if Manifest(store).has_rows:
            raise ValueError(f"out={conf.out} has finished rows but no {SETTINGS}, {UNKNOWN}")
        return
    try:
        before = dict(json.loads(store.get(SETTINGS))["settings"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"out={conf.out}: its {SETTINGS} is not one that a bulk job wrote, {UNKNOWN}") from None
    changed = differences(before, json.loads(json.dumps(job_settings(conf, prepared.bundle_sha256))))
    if changed:
        raise ValueError(
            f"out={conf.out} holds a job with other settings: {'; '.join(changed)}. "
            "Use the same settings, or another out"
        )
