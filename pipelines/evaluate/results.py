"""The rows of an evaluation: parquet parts in its folder, written as videos are measured, never changed.

out/evaluation.json              by what it was measured
out/metrics/part-000001.parquet  rows; their columns are those of models/metrics/catalog.py and a few more
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longtake.models.metrics.catalog import BY_NAME
from longtake.pipelines.files.store import Store

PART = re.compile(r"metrics/part-(\d+)\.parquet")
TEXTS = ("path", "status", "reason", "flow", "id", "prompt", "url")
WHOLE = ("num_frames", "width", "height", "scuts", "seed")
NUMBERS = ("fps", *(name for name in BY_NAME if name != "scuts"), "seconds")
ORDER = (
    "path status reason num_frames fps width height flow scuts ofs ofs_squared warp_error mawe_v1 mawe_cvpr mawe_code "
    "clip_score clip_anchor flow_std seam_ratio temporal_flicker stagnation drift_color drift_sharpness "
    "drift_embedding drift_motion seam_flow seam_feature id prompt seed seconds url"
)
CURVES = ("difference", "flow", "warp_error", "sharpness", "clip_score")
SCHEMA = pa.schema(
    [
        *(
            pa.field(name, pa.string() if name in TEXTS else pa.int64() if name in WHOLE else pa.float64())
            for name in ORDER.split()
        ),
        *(pa.field(f"curve_{name}", pa.list_(pa.float32())) for name in CURVES),
    ]
)

Row = dict[str, Any]


class Evaluation:
    """The folder of one evaluation."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def settings(self) -> dict[str, Any] | None:
        """By what it was measured; None before it was begun."""
        if not self.store.exists("evaluation.json"):
            return None
        settings: dict[str, Any] = json.loads(self.store.get("evaluation.json"))
        return settings

    def begin(self, settings: Mapping[str, object]) -> None:
        self.store.put("evaluation.json", json.dumps(settings, indent=1).encode())

    def add(self, rows: Sequence[Row]) -> None:
        """One more part. Killed in the middle, it is there whole or not at all."""
        if not rows:
            return
        number = max((int(match[1]) for match in self._parts()), default=0) + 1
        table = pa.table({name: [row.get(name) for row in rows] for name in SCHEMA.names}, SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.store.put(f"metrics/part-{number:06d}.parquet", sink.getvalue().to_pybytes())

    def rows(self, columns: Sequence[str] | None = None) -> list[Row]:
        """All rows, by path."""
        rows: list[Row] = []
        for match in self._parts():
            data = pa.BufferReader(self.store.get(match[0]))
            rows += pq.read_table(data, columns=None if columns is None else list(columns)).to_pylist()
        return sorted(rows, key=lambda row: row["path"])

    def _parts(self) -> list[re.Match[str]]:
        return [match for path in self.store.list("metrics") if (match := PART.fullmatch(path))]
