"""The rows of an evaluation: parquet parts in its folder, written as videos are measured.

out/evaluation.json              how it was measured: flow, size, CLIP, videos
out/metrics/part-000001.parquet  rows; their columns are those of models/metrics/catalog.py and a few more

`made_from` is a digest of all that a row was made from: the file, its prompt and seed, the borders. A part changes only
when one of its rows is out of date and measured again.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from longtake.pipelines.datasets.video_list import Listed, shown
from longtake.pipelines.files.store import Store

PART = re.compile(r"metrics/part-(\d+)\.parquet")
DONE, FAILED, NOT_MADE = "done", "failed", "not made"  # status; the last one: the bulk job has no video for its row
TEXTS = ("path", "status", "reason", "flow", "id", "prompt", "url", "notes", "made_from")
WHOLE = ("num_frames", "width", "height", "scuts", "seed")
ORDER = (
    "path status reason num_frames fps width height flow scuts ofs ofs_squared warp_error mawe_v1 mawe_cvpr mawe_code "
    "clip_score clip_anchor flow_std seam_ratio temporal_flicker stagnation drift_color drift_sharpness "
    "drift_embedding drift_motion seam_flow seam_feature id prompt seed seconds url notes made_from"
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
COLUMNS = [name for name in SCHEMA.names if not name.startswith("curve_")]

MetricRow = dict[str, Any]


def known_columns(video: Listed) -> MetricRow:
    """The columns that are known before a video is measured."""
    own = {"path": video.path, "id": video.id, "prompt": video.prompt, "seed": video.seed}
    return {**own, "url": shown(video.url), "made_from": video.digest}


def failed_row(video: Listed, reason: str, seconds: float | None = None) -> MetricRow:
    """The row of a video that was not measured."""
    status = FAILED if video.made else NOT_MADE
    return {**known_columns(video), "status": status, "reason": reason, "seconds": seconds}


def video_of(row: MetricRow) -> Listed:
    """The video that a row is about."""
    in_tar = row["url"].endswith(".tar")
    return Listed(row["path"], row["url"], row["path"].partition(".tar#")[2] or None if in_tar else None)


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
        self._write(f"metrics/part-{number:06d}.parquet", table)

    def rows(self, columns: Sequence[str] = COLUMNS) -> list[MetricRow]:
        """All rows, ordered by path; without their curves, which grow with the length of a video."""
        rows = [row for match in self._parts() for row in self._open(match).read(columns).to_pylist()]
        return sorted(rows, key=lambda row: row["path"])

    def curves(self, made_from: Collection[str]) -> dict[str, MetricRow]:
        """The curves of a few rows, by their `made_from`."""
        wanted = pc.field("made_from").isin(list(made_from))
        columns = ["made_from", *(f"curve_{name}" for name in CURVES)]
        tables = (self._open(match).read(columns).filter(wanted) for match in self._parts())
        return {row["made_from"]: row for table in tables for row in table.to_pylist()}

    def forget(self, made_from: Collection[str]) -> None:
        """Removes rows."""
        for match in self._parts() if made_from else ():
            table = self._open(match).read()
            kept = table.filter(~pc.field("made_from").isin(list(made_from)))
            if not len(kept):
                self.store.delete(match[0])
            elif len(kept) < len(table):
                self._write(match[0], kept)

    def _open(self, match: re.Match[str]) -> pq.ParquetFile:
        return pq.ParquetFile(pa.BufferReader(self.store.get(match[0])))

    def _write(self, part: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.store.put(part, sink.getvalue().to_pybytes())

    def _parts(self) -> list[re.Match[str]]:
        return [match for path in self.store.list("metrics") if (match := PART.fullmatch(path))]
