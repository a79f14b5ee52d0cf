"""The folders of models, by path, by the name of a bundle that ships, or by hub id."""

from pathlib import Path

from longtake.pipelines.config.hub import hub_folder, is_hub_id
from longtake.pipelines.config.paths import BUNDLES


def model_folder(field: str, place: str, allow_pickle: bool = False) -> Path:
    """The folder of a model. Raises ValueError, naming `field`, if there is none and it cannot be fetched."""
    if Path(place).is_dir():
        return Path(place)
    shipped = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    if place in shipped:
        return BUNDLES / place
    if is_hub_id(place):
        return hub_folder(field, place, allow_pickle)
    raise ValueError(f"{field}={place} is neither a folder nor a shipped bundle ({', '.join(shipped) or 'none'})")


def bundle_path(bundle: str, allow_pickle: bool = False) -> Path:
    """The folder of a bundle. Raises ValueError as `model_folder`."""
    return model_folder("bundle", bundle, allow_pickle)


def lasting_place(place: str) -> str:
    """A name of the same model for a process in another folder: that of a hub id, or of a shipped bundle, is one."""
    return str(Path(place).absolute()) if Path(place).is_dir() else place
