"""Tags that tell where the results of a job come from."""

import os
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from longtake import __version__
from longtake.pipelines.config.paths import PACKAGE

JobKind = Literal["bulk", "train", "evaluate"]

HOME = PACKAGE.parent
PACKAGES = ("ray", "torch", "diffusers", "transformers", "av")


def origin_tags(kind: JobKind) -> dict[str, str]:
    """The kind of job, the versions of packages, and the git revision of a source checkout."""
    tags = {"kind": kind, "version.longtake": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"version.{package}"] = version(package)
    if (HOME / ".git").exists():  # not a repository further up, in which an installed package may stand
        command = ["git", "-C", str(HOME), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
            tags["git"] = done.stdout.strip()
    return tags
