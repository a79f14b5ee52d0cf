"""Numbers of a job or an endpoint among Ray's own metrics, as `longtake_NAME`.

They go through `ray.util.metrics`, not prometheus_client: Ray's agents collect them from every machine, and the
dashboard and its Prometheus configuration know them.
"""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge


class RayMetrics:
    """One Ray metric for each number. Ray must be initialized before."""

    def __init__(self, gauges: Mapping[str, str], counters: Mapping[str, str] | None = None) -> None:
        """Both map names to descriptions; Ray sees a counter as `longtake_NAME_total`."""
        self._gauges = {name: Gauge(f"longtake_{name}", text) for name, text in gauges.items()}
        self._counters = {name: Counter(f"longtake_{name}_total", text) for name, text in (counters or {}).items()}
        self._last: dict[str, float] = {}

    def show(self, values: Mapping[str, float]) -> None:
        """Exports the values that changed; those of counters are totals."""
        for name, value in values.items():
            before = self._last.get(name)
            if value == before:
                continue
            if name in self._gauges:
                self._gauges[name].set(value)
            elif value > (before or 0):
                self._counters[name].inc(value - (before or 0))
        self._last.update(values)
