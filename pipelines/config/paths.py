"""Places inside the package: the settings and the bundles that are installed with it."""

from pathlib import Path

import longtake

PACKAGE = Path(longtake.__file__).parent
CONF = PACKAGE / "conf"
BUNDLES = PACKAGE / "models" / "bundles"
