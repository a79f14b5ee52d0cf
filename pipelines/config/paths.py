"""Places of settings and bundles: those that are installed with the package, and the folders that a user names."""

from pathlib import Path

import longtake

PACKAGE = Path(longtake.__file__).parent
CONF = PACKAGE / "conf"
BUNDLES = PACKAGE / "models" / "bundles"


def bundle_path(bundle: str) -> Path:
    """The folder of a bundle. Raises ValueError if it is neither a folder nor the name of a bundle that ships."""
    if Path(bundle).is_dir():
        return Path(bundle)
    shipped = sorted(path.name for path in BUNDLES.glob("*") if path.is_dir())
    if bundle in shipped:
        return BUNDLES / bundle
    raise ValueError(f"bundle={bundle} is neither a folder nor a shipped bundle ({', '.join(shipped) or 'none'})")
