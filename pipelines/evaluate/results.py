"""The rows of an evaluation: parquet parts in its folder, written as videos are measured and never changed.

out/evaluation.json              how it was measured: flow, size, CLIP, videos
out/metrics/part-000001.parquet  rows; their columns are those of models/metrics/catalog.py and a few more
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.files.store import Store

PART = re.compile(r"metrics/part-(\d+)\.parquet")
TEXTS = ("path", "status", "reason", "flow", "id", "prompt", "url")
WHOLE = ("num_frames", "width", "height", "scuts", "seed")
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

MetricRow = dict[str, Any]


def video_of(row: MetricRow) -> Listed:
    """The video that a row is about."""
    file, _, member = row["path"].partition("#")
    return Listed(file, row["url"], member or None)


class Evaluation:
    """The folder of one evaluation."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings of `begin`; None before it."""
        if not self.store.exists("evaluation.json"):
            return None
        settings: dict[str, Any] = json.loads(self.store.get("evaluation.json"))
        return settings

    def begin(self, settings: Mapping[str, object]) -> None:
        """Records the settings that the rows depend on."""
        self.store.put("evaluation.json", json.dumps(settings, indent=1).encode())

    def add(self, rows: Sequence[MetricRow]) -> None:
        """Writes one more part; after a kill it is complete or absent."""
        if not rows:
            return
        number = max((int(match[1]) for match in self._parts()), default=0) + 1
        table = pa.table({name: [row.get(name) for row in rows] for name in SCHEMA.names}, SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.store.put(f"metrics/part-{number:06d}.parquet", sink.getvalue().to_pybytes())

    def rows(self, columns: Sequence[str] | None = None) -> list[MetricRow]:
        """All rows, ordered by path."""
        rows: list[MetricRow] = []
        for match in self._parts():
            data = pa.BufferReader(self.store.get(match[0]))
            rows += pq.read_table(data, columns=None if columns is None else list(columns)).to_pylist()
        return sorted(rows, key=lambda row: row["path"])

    def _parts(self) -> list[re.Match[str]]:
        return [match for path in self.store.list("metrics") if (match := PART.fullmatch(path))]
