"""The engine's metrics."""

from collections.abc import Mapping, Sequence

from longtake.pipelines.runners.ray_metrics import RayMetrics
from longtake.pipelines.serve.library.takes import Take

DESCRIPTIONS = {
    "queued": "Videos that wait for their first call.",
    "running": "Videos in progress.",
    "base_calls": "Running calls of the base model.",
    "refiner_calls": "Running calls of the refiner.",
    "writer_calls": "Running calls that read, encode and write.",
    "waiting_frames": "Low-resolution frames waiting for the refiner.",
    "waiting_fragments": "Final segments waiting to be encoded.",
    "videos": "Videos in the library.",
    "size_bytes": "Total size of the library in bytes.",
    "completed": "Videos completed since the start.",
    "failed": "Videos failed since the start.",
    "cancelled": "Videos cancelled since the start.",
}


class Gauges:
    """The figures of a moment ago, as in DESCRIPTIONS. Any thread may read `latest`."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}  # replaced, never changed
        self._library: dict[str, float] = {}
        self._ray: RayMetrics | None = None

    def export(self) -> None:
        """Shows them among Ray's own metrics from now on. Ray has to be connected."""
        self._ray = RayMetrics(DESCRIPTIONS)

    def count(self, takes: Sequence[Take]) -> None:
        """Counts the library, which is too slow for every turn."""
        self._library = {"videos": len(takes), "size_bytes": sum(take.size_bytes for take in takes)}

    def show(self, *figures: Mapping[str, float]) -> None:
        merged = {name: float(value) for group in figures for name, value in group.items()}
        self.latest = {**merged, **self._library}
        if self._ray is not None:
            self._ray.show(self.latest)
