"""The engine's figures, where Ray collects those of its own: `longtake_...` among Ray's metrics."""

from collections.abc import Mapping

from ray.util.metrics import Gauge

DESCRIPTIONS = {
    "queued": "Videos that wait.",
    "running": "Videos in work.",
    "base_calls": "Calls of the base model that run.",
    "refiner_calls": "Calls of the refiner that run.",
    "writer_calls": "Calls that read, encode and write.",
    "waiting_frames": "Low-resolution frames that wait for the refiner.",
    "waiting_fragments": "Final segments that wait to be encoded.",
    "videos": "Videos in the library.",
    "size_bytes": "Bytes of their files.",
    "completed": "Videos completed since the start.",
    "failed": "Videos failed since the start.",
    "cancelled": "Videos cancelled since the start.",
}


class Exported:
    """One gauge a figure. Ray has to be initialized when it is made."""

    def __init__(self) -> None:
        self._gauges = {name: Gauge(f"longtake_{name}", text) for name, text in DESCRIPTIONS.items()}
        self._last: dict[str, float] = {}

    def show(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if self._last.get(name) != value:
                self._gauges[name].set(value)
        self._last = dict(values)
