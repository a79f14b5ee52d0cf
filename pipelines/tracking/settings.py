"""Tracking settings, importable without MLflow."""

from dataclasses import dataclass, fields

from longtake.models.domain.checks import require


@dataclass(frozen=True, slots=True)
class TrackingParams:
    """Settings of a job's MLflow run. Raises ValueError with the field, its value and the rule."""

    enabled: bool = True
    uri: str | None = None  # else MLFLOW_TRACKING_URI, else a sqlite file in the output folder
    experiment: str = "longtake"
    name: str | None = None  # of the run; else the kind of job and the start of its key
    interval_s: float = 10.0  # metrics are sent at most this often: each key's newest value
    system_metrics: bool = True  # CPU, memory, disk, network and GPUs of the machine that runs the job

    def __post_init__(self) -> None:
        for field in ("enabled", "system_metrics"):
            require(isinstance(getattr(self, field), bool), field, getattr(self, field), "must be true or false")
        for field in ("uri", "experiment", "name"):
            value = getattr(self, field)
            holds = (value is None and field != "experiment") or (isinstance(value, str) and bool(value.strip()))
            require(holds, field, value, "must be a string that is not blank")
        number = isinstance(self.interval_s, int | float) and not isinstance(self.interval_s, bool)
        rule = "must be a number of seconds, more than 0 and at most 3600"
        require(number and 0 < self.interval_s <= 3600, "interval_s", self.interval_s, rule)
        if not self.enabled:
            for f in fields(self):
                if f.name != "enabled" and getattr(self, f.name) != f.default:
                    raise ValueError(f"{f.name}={getattr(self, f.name)} has no effect with tracking.enabled=false")
