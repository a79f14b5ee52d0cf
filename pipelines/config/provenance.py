"""All that the bytes of a video depend on beside its request: the weights and the settings."""

import json
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from longtake.models.domain.prompt import Settings, Value
from longtake.models.stages.params import BUNDLE
from longtake.models.video.fit import Fit
from longtake.pipelines.config.bundle_file import NAME, PLACES
from longtake.pipelines.config.conf import Conf, bundle_folder, opener_folder, refiner_folder
from longtake.pipelines.config.loader import flatten

ELSEWHERE = "elsewhere"  # in place of a folder or hub id


def hash_of(bundle: Path) -> str:
    """sha256 over the names and bytes of a bundle's files, by which manifests name weights.

    bundle.json is none of them: it holds settings, which are recorded apart.
    """
    digest = sha256()
    for path in sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != NAME):
        digest.update(json.dumps(path.relative_to(bundle).as_posix()).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def weights_of(conf: Conf) -> str:
    """The hash of a configuration's weights: of the bundle, together with those of models from elsewhere."""
    bundle, others = hash_of(bundle_folder(conf)), dict[str, str]()
    if (refiner := refiner_folder(conf)) is not None:
        others["refiner.model"] = hash_of(refiner)
    if conf.opener.model not in (None, BUNDLE):
        others["opener.model"] = hash_of(opener_folder(conf))
    return sha256(json.dumps({"bundle": bundle, **others}).encode()).hexdigest() if others else bundle


# What a record means that does not have these keys, whatever the defaults of its bundle are.
UNSAID: Settings = (
    ("opener.model", None),
    ("refiner.enabled", True),
    ("refiner.model", None),
    ("refiner.fit", Fit.COVER.value),
    ("base.height", None),
    ("base.width", None),
)


def recorded_settings(record: Mapping[str, Value]) -> Settings:
    """The settings of a video, from what `video_settings` recorded of it."""
    return tuple({**dict(UNSAID), **record}.items())


def video_settings(conf: Conf) -> dict[str, Any]:
    """Every setting that a video's bytes depend on, by dotted key.

    Without those that change nothing: records of earlier jobs stay equal. These are the settings of an opener or a
    refiner from elsewhere where there is none, and of sizes where square frames go into square ones, which fit in every
    way.
    """
    opener = () if conf.opener.model is None else ("opener.",)
    sections = ("device", "dtype", "num_threads", "base.", *opener, "plan.", "refiner.", "video.")
    own = {f.name for f in fields(Conf)}
    flat = {key: value for key, value in flatten(conf).items() if key.split(".")[0] in own}
    base, refiner = conf.base, conf.refiner
    if refiner.enabled:
        del flat["refiner.enabled"]
    if refiner.model in (None, BUNDLE):
        del flat["refiner.model"]
    if base.height is None and base.width is None:
        del flat["base.height"], flat["base.width"]
        if refiner.height == refiner.width and refiner.fit is Fit.COVER:
            del flat["refiner.fit"]
    return {key: value for key, value in sorted(flat.items()) if key.startswith(sections)}


def comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings as they are compared with others.

    The place of a model is not compared, only whether it is the bundle's own: its weights are, by `weights_of`.
    """
    placed = {key for key in PLACES if settings.get(key) not in (None, BUNDLE)}
    return {key: ELSEWHERE if key in placed else value for key, value in settings.items()}


def comparable_text(settings: str | None) -> str | None:
    """`comparable` for settings as JSON; the same text where no model has a place of its own. None stays None."""
    if settings is None or not any(json.dumps(key) in settings for key in PLACES):  # most of a million rows
        return settings
    known = json.loads(settings)
    return settings if (compared := comparable(known)) == known else json.dumps(compared, sort_keys=True)
