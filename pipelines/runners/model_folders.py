"""The folders of models, by path, by the name of a bundle that ships, or by hub id."""

from hashlib import sha256
from pathlib import Path

from longtake.pipelines.config.conf import Conf
from longtake.pipelines.config.paths import BUNDLES
from longtake.pipelines.config.provenance import hash_of
from longtake.pipelines.runners.hub import hub_folder, is_hub_id


def model_folder(field: str, place: str, allow_pickle: bool = False) -> Path:
    """The folder of a model. Raises ValueError, naming `field`, if there is none."""
    if Path(place).is_dir():
        return Path(place)
    shipped = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    if place in shipped:
        return BUNDLES / place
    if is_hub_id(place):
        return hub_folder(field, place, allow_pickle)
    raise ValueError(f"{field}={place} is neither a folder nor a shipped bundle ({', '.join(shipped) or 'none'})")


def refiner_folder(conf: Conf) -> Path | None:
    """The folder of the refiner that `conf` names beside the bundle, if it names one."""
    model = conf.refiner.model
    return None if model is None else model_folder("refiner.model", model, conf.allow_pickle)


def lasting_place(place: str) -> str:
    """A name of the same model for a process in another folder: that of a hub id, or of a shipped bundle, is one."""
    return str(Path(place).absolute()) if Path(place).is_dir() else place


def weights_hash(conf: Conf) -> str:
    """sha256 of all weights that a video is made with."""
    own, refiner = hash_of(model_folder("bundle", conf.bundle, conf.allow_pickle)), refiner_folder(conf)
    return own if refiner is None else sha256((own + hash_of(refiner)).encode()).hexdigest()
