"""All that the bytes of a video depend on beside its request: the weights and the settings."""

import json
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from longtake.pipelines.config.conf import Conf
from longtake.pipelines.config.loader import flatten


def hash_of(bundle: Path) -> str:
    """sha256 over the names and bytes of a bundle's files, by which manifests name weights."""
    digest = sha256()
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        digest.update(json.dumps(path.relative_to(bundle).as_posix()).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def video_settings(conf: Conf) -> dict[str, Any]:
    """Every setting that a video's bytes depend on, by dotted key.

    Those that came after the first release are left out where they change nothing: records of earlier jobs stay equal.
    """
    sections = ("device", "dtype", "num_threads", "base.", "plan.", "refiner.", "video.")
    own = {f.name for f in fields(Conf)}
    flat = {key: value for key, value in flatten(conf).items() if key.split(".")[0] in own}
    if conf.refiner.enabled:
        del flat["refiner.enabled"]
    if conf.refiner.model is None:
        del flat["refiner.model"]
    return {key: value for key, value in sorted(flat.items()) if key.startswith(sections)}
