"""The manifest: one row for each finished video, failed ones included, in parquet.

    manifest/_records/3f/NAME.json    one row, written when its video is finished
    manifest/part-000001.parquet      many rows: the form for readers of the folder `manifest`

1. The record is the commit: a video without a record or a row in a part is not finished, whatever files it has. An id
   has at most one record.
2. `compact` writes a new part, then deletes the records of its rows. If it is killed in between, the next `compact`
   finds records of rows that are in a part, and only deletes them.
3. Part n is created once, by a writer that has read all parts before it. Of two concurrent writers one fails, reads
   again and retries. So an id never occurs twice in the parts.
4. Readers read the records before the parts: rows move from records to parts, never back.
5. People edit tables. A part may be written again by another tool, with other types and more columns; a row counts as
   made from what it says now. What cannot be a manifest raises ValueError naming the file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from longtake.pipelines.datasets.finished import Columns, Digests, Finished, Ids, digests_of
from longtake.pipelines.datasets.names import safe_name
from longtake.pipelines.datasets.request_columns import ASKED, request_hash
from longtake.pipelines.files.store import Store

FOLDER = "manifest"
RECORDS = "manifest/_records"  # pyarrow, and so pandas, passes over folders whose name begins with "_"
PART = re.compile(r"manifest/part-(\d+)\.parquet")
WHAT = ["id", "request_sha256", "ordinal", "status", "path", *ASKED]  # the columns that `Finished` follows from
ADVICE = "put the file back as it was, or use another out"
PART_ROWS = 10_000  # at most, so that memory is bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One finished video. None is unknown: a failed video may have a reason and little else."""

    id: str
    prompt: str | None = None
    cues: str | None = None  # JSON: the later prompts, as `request_columns.py` writes them
    negative_prompt: str | None = None
    status: str  # done or failed
    reason: str | None = None  # of a failed one
    source: str  # prompts.jsonl:12
    ordinal: int  # place in the job, from 0
    path: str | None = None  # of the mp4; this and the next two are relative to the job's folder
    preview: str | None = None
    thumbnail: str | None = None
    sha256: str | None = None  # of the mp4's bytes
    size_bytes: int | None = None
    num_frames: int | None = None
    fps: float | None = None
    width: int | None = None  # pixels
    height: int | None = None
    seed: int | None = None  # that it was made with
    asked_seed: int | None = None  # of the request: another one if videos were rejected
    bundle: str | None = None
    bundle_sha256: str | None = None
    settings: str | None = None  # JSON: every parameter that the frames depend on, by dotted key
    request_sha256: str | None = None  # of all that the row of prompts asked for: `request_hash`
    unknown_words: str | None = None  # of its prompts, separated by spaces: the bundle has no token for them
    unused_columns: str | None = None  # of its row of prompts, separated by commas: they changed nothing
    image: str | None = None  # the picture that it begins with: a path or a URL
    image_sha256: str | None = None  # of that file's bytes
    image_notes: str | None = None  # on what was left out of it or converted, separated by semicolons
    extends: str | None = None  # the video that it continues: a path or a URL (datasets makes a column `video`)
    extends_version: str | None = None  # of that file, as `file_versions.py` has it
    extends_sha256: str | None = None  # of its bytes
    extends_frames: int | None = None  # the number of its frames, with which this video begins
    extends_notes: str | None = None  # as image_notes
    generate_s: float | None = None
    refine_s: float | None = None
    encode_s: float | None = None
    attempts: int = 1  # 1 and the number of repeated calls, or of repetitions of the whole
    quality: str | None = None  # JSON: a list of every seed that was tried, with its metrics and the limit it breaks
    flagged: str | None = None  # the limit that a done video breaks, if quality.on_failure=flag
    finished_at: datetime | None = None  # UTC; set in every recorded row

    def check(self) -> None:
        """Asserts the invariants of a recorded row."""
        assert self.status in ("done", "failed"), self.status
        assert (self.reason is None) == (self.status == "done"), f"reason={self.reason!r} of a {self.status} video"
        in_utc = self.finished_at is not None and self.finished_at.utcoffset() == timedelta(0)
        assert in_utc, f"finished_at={self.finished_at} is not a time in UTC"
        unknown = {f.name for f in fields(self) if getattr(self, f.name) is None}
        free = {"reason", "cues", "preview", "thumbnail", "asked_seed", "quality", "flagged"}
        free |= {"request_sha256", "unknown_words", "unused_columns"}
        unknown = {name for name in unknown - free if not name.startswith(("image", "extends"))}
        assert self.status == "failed" or not unknown, f"{unknown} of a done video"


def _field(name: str, hint: Any) -> pa.Field:
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us", tz="UTC")}
    kind, *optional = get_args(hint) or (hint,)
    return pa.field(name, types[kind], nullable=bool(optional))


SCHEMA = pa.schema([_field(name, hint) for name, hint in get_type_hints(VideoRow).items()])


class Manifest:
    """The manifest in the folder `manifest` of a store. Any number of processes may record, compact and read it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._in_parts, self._parts = Ids(), set[str]()  # ids in the parts read so far, and those parts
        self._bounds: dict[str, tuple[int, int]] = {}  # first and last ordinal of a part

    def __reduce__(self) -> tuple[type["Manifest"], tuple[Store]]:
        return Manifest, (self.store,)

    @property
    def has_rows(self) -> bool:
        """Whether any row was recorded here."""
        return bool(self._record_paths() or self._part_paths())

    def record(self, row: VideoRow) -> bool:
        """Commits a video (rule 1). False, and nothing is written, if there is a record of its id."""
        row.check()
        return self.store.create(_record_path(row.id), json.dumps(asdict(row), default=datetime.isoformat).encode())

    def compact(self, min_rows: int = 1) -> int:
        """Moves records to parts (rules 2 and 3) if there are at least `min_rows`. Returns the number of moved rows."""
        waiting = self._record_paths()
        if len(waiting) < min_rows:
            return 0
        return sum(self._compact(waiting[i : i + PART_ROWS]) for i in range(0, len(waiting), PART_ROWS))

    def finished(self) -> Finished:
        """Requests of the finished rows, and the places of the rows. Raises ValueError if parts hold a row twice."""
        waiting = list(self._records())
        for path in self.store.list(FOLDER):
            if path.endswith(".parquet") and not path.startswith(RECORDS) and not PART.fullmatch(path):
                raise ValueError(f"{self.store}/{path} is not a part that a job wrote: move it away, or rename it back")
        batches = []
        for path in self._part_paths():
            for batch in self._read(path, WHAT).to_batches(1000):
                batches.append(_finished(self._checked(path, batch)))
        finished, num_rows = Finished(batches), sum(len(ids) for ids, *_ in batches)
        if len(finished) < num_rows:
            twice = num_rows - len(finished)
            rows = "1 row is" if twice == 1 else f"{twice} rows are"
            raise ValueError(f"{self.store}/{FOLDER}: {rows} in its parts more than once; {ADVICE}")
        return Finished([*batches, _finished(map(asdict, waiting))])

    def forget(self, ids: Digests) -> None:
        """Deletes the rows of these ids, given as digests: they no longer count as finished.

        No other process may compact the manifest at the same time.
        """
        self.compact()
        for path in self._part_paths():
            kept = self._open(path).read()
            is_kept = ~np.isin(self._digests(path), ids)
            if not is_kept.all():
                self.store.put(path, _parquet(kept.filter(pa.array(is_kept))))
        self._in_parts, self._parts, self._bounds = Ids(), set(), {}

    def having(self, ids: Digests) -> Iterator[VideoRow]:
        """The rows of these ids, given as digests, in any order."""
        wanted = Ids([ids])
        return (row for row in self.rows() if row.id in wanted)

    def rows(self) -> Iterator[VideoRow]:
        """All rows, each id once: part after part, then the records in the order of the job."""
        waiting = {row.id: row for row in self._records()}
        for path in self._part_paths():
            for batch in self._read(path).to_batches(1000):
                for row in self._rows(path, batch):
                    waiting.pop(row.id, None)
                    yield row
        yield from sorted(waiting.values(), key=lambda row: row.ordinal)

    def paths(self) -> dict[str, str | None]:
        """The path of the video of each id; None of one that failed."""
        parts = zip(*self.table(["id", "path"]).to_pydict().values(), strict=True)
        return {row.id: row.path for row in self._records()} | dict(parts)

    def between(self, ordinals: range) -> Iterator[VideoRow]:
        """The rows of a range of places in the job. A part without any of them is read once, not in every call."""
        waiting = {row.id: row for row in self._records() if row.ordinal in ordinals}
        inside = (pc.field("ordinal") >= ordinals.start) & (pc.field("ordinal") < ordinals.stop)
        for path in self._part_paths():
            first, last = self._bounds.get(path, (ordinals.start, ordinals.start))
            if first < ordinals.stop and last >= ordinals.start:
                table = self._read(path)
                bounds = pc.min_max(table["ordinal"]).as_py()
                self._bounds[path] = (bounds["min"] or 0, bounds["max"] or 0)
                for row in self._rows(path, table.filter(inside)):
                    waiting.pop(row.id, None)
                    yield row
        yield from waiting.values()

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in parts, or these columns of them: about 1 KB of memory for a whole row."""
        parts = (self._read(path, columns) for path in self._part_paths())
        empty = SCHEMA.empty_table() if columns is None else SCHEMA.empty_table().select(columns)
        return pa.concat_tables([empty, *parts], promote_options="default")

    def find(self, id: str) -> VideoRow:
        """The row of an id. Raises ValueError, with the id and the manifest, if there is none."""
        record = next(self._records([_record_path(id)]), None)
        for path in self._part_paths():
            for row in self._rows(path, self._read(path).filter(pc.field("id") == id)):
                return row
        if record is None:
            raise ValueError(f"id={id!r} is not in the manifest {self.store}/{FOLDER}")
        return record

    def _compact(self, paths: Sequence[str]) -> int:
        waiting = sorted(self._records(paths), key=lambda row: row.ordinal)
        while rows := self._not_in_parts(waiting):
            number = max(map(_number, self._parts), default=0) + 1
            if self.store.create(f"{FOLDER}/part-{number:06d}.parquet", _parquet(_table(rows))):
                break
        self.store.delete(*paths)
        return len(rows)

    def _not_in_parts(self, rows: Iterable[VideoRow]) -> list[VideoRow]:
        new = [path for path in self._part_paths() if path not in self._parts]
        self._in_parts.merge(map(self._digests, new))
        self._parts.update(new)
        return [row for row in rows if row.id not in self._in_parts]

    def _records(self, paths: Sequence[str] | None = None) -> Iterator[VideoRow]:
        """The records at `paths`, or all. A record that was deleted after the listing is in a part."""
        paths = self._record_paths() if paths is None else paths
        for path, data in zip(paths, self.store.get_each(paths), strict=True):
            if data is not None:
                try:
                    row = dict(json.loads(data))
                    _check(row)
                    yield VideoRow(**{**row, "finished_at": datetime.fromisoformat(row["finished_at"])})
                except (ValueError, TypeError, KeyError) as error:
                    rule = "put it back as it was, or delete it to have its video made again"
                    what = f"{self.store}/{path} is not a record that a job wrote"
                    raise ValueError(f"{what} ({error}): {rule}") from None

    def _digests(self, part: str) -> Digests:
        return digests_of(self._read(part, ["id"])["id"].to_pylist())

    def _part_paths(self) -> list[str]:
        return [path for path in self.store.list(FOLDER) if PART.fullmatch(path)]

    def _record_paths(self) -> list[str]:
        """Without the files that file managers leave in folders."""
        return [path for path in self.store.list(RECORDS) if path.endswith(".json") and "/." not in path]

    def _read(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A part, or some columns of it, with the types of SCHEMA: rule 5."""
        schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
        try:
            table = self._open(path).read()
            empty, there = pa.nulls(len(table)), table.column_names
            found = [table[name] if name in there else empty for name in schema.names]
            arrays = [array.cast(field.type) for array, field in zip(found, schema, strict=True)]
            for field, array in zip(schema, arrays, strict=True):
                if not field.nullable and array.null_count:
                    raise ValueError(f"a row has no {field.name}")
            return pa.Table.from_arrays(arrays, schema=schema)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise ValueError(f"{self.store}/{path} cannot be read ({error}): {ADVICE}") from None

    def _rows(self, path: str, table: pa.Table | pa.RecordBatch) -> Iterator[VideoRow]:
        return (VideoRow(**row) for row in self._checked(path, table))

    def _checked(self, path: str, table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
        for row in table.to_pylist():
            try:
                _check(row)
            except ValueError as error:
                raise ValueError(f"{self.store}/{path}: id={row['id']!r}: {error}; {ADVICE}") from None
            yield row

    def _open(self, path: str) -> pq.ParquetFile:
        # The whole file in one request: 10,000 rows are 1 to 5 MB, most of it prompts.
        return pq.ParquetFile(pa.BufferReader(self.store.get(path)))


def _record_path(id: str) -> str:
    return f"{RECORDS}/{sha256(id.encode()).hexdigest()[:2]}/{safe_name(id)}.json"


def _number(part: str) -> int:
    match = PART.fullmatch(part)
    assert match, part
    return int(match[1])


def _table(rows: Sequence[VideoRow]) -> pa.Table:
    return pa.table({name: [getattr(row, name) for row in rows] for name in SCHEMA.names}, SCHEMA)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        if len(table):  # Hugging Face's reader fails at a row group without rows
            writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _finished(rows: Iterable[Mapping[str, Any]]) -> Columns:
    found = list(rows)
    return (
        digests_of(row["id"] for row in found),
        digests_of(request_hash(row) if row["status"] == "done" else row["request_sha256"] or "" for row in found),
        np.fromiter((row["ordinal"] for row in found), np.int64),
        np.fromiter((row["status"] == "failed" for row in found), bool),
    )


def _check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for what no job wrote; `row` has some columns."""
    if not isinstance(row["id"], str) or type(row["ordinal"]) is not int:
        raise ValueError(f"id={row['id']!r} must be a text, and ordinal={row['ordinal']!r} a whole number")
    if row["status"] not in ("done", "failed"):
        raise ValueError(f"status={row['status']!r} must be done or failed")
    if row["status"] == "done" and row["path"] is None:
        raise ValueError("path is missing, but status=done")
    for name in ("path", "preview", "thumbnail"):
        path = PurePosixPath(row.get(name) or "")
        if path.is_absolute() or ".." in path.parts:  # changed=remake would delete what it names
            raise ValueError(f"{name}={str(path)!r} leads out of the folder")
