"""Longtake: long videos from text, in one take.

    import longtake

    model = longtake.load("tiny")
    segments = model.stream("a large red circle moves right over a plain navy background", num_frames=80)
    longtake.write_mp4(segments, "take.mp4")

These names are imported on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtake.pipelines.api import Longtake, load, write_mp4

__version__ = "0.1.0"
__all__ = ["Longtake", "load", "write_mp4"]


def __getattr__(name: str) -> Any:
    """A name of the public face, imported on first use: `import longtake` alone loads no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'longtake' has no attribute {name!r}")
    from longtake.pipelines import api

    return getattr(api, name)
