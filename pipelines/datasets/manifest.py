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
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from hashlib import blake2b, sha256
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from longtake.models.domain.prompt import Cue
from longtake.pipelines.files.store import Store

FOLDER = "manifest"
RECORDS = "manifest/_records"  # pyarrow, and so pandas, passes over folders whose name begins with "_"
PART = re.compile(r"manifest/part-(\d+)\.parquet")
PART_ROWS = 10_000  # at most, so that memory is bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One finished video. None is unknown: a failed video may have a reason and little else."""

    id: str
    prompt: str | None = None
    cues: str | None = None  # JSON: the later prompts, as `cues_text` writes them
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
        assert self.status == "failed" or unknown <= free, f"{unknown} of a done video"


def _field(name: str, hint: Any) -> pa.Field:
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us", tz="UTC")}
    kind, *optional = get_args(hint) or (hint,)
    return pa.field(name, types[kind], nullable=bool(optional))


SCHEMA = pa.schema([_field(name, hint) for name, hint in get_type_hints(VideoRow).items()])


class Done:
    """Finished ids: `id in done`, `done.add(id)`, `len(done)`.

    Kept as 64-bit digests: 8.0 bytes an id in the sorted array, measured with 1,000,000 ids, and at most 4.5 MB more
    for new ones. Two of a million ids share a digest with a probability of 3e-8.
    """

    NUM_NEW = 65_536  # then they are merged, in 40 ms with 1,000,000 ids

    def __init__(self, digests: Iterable[NDArray[np.uint64]] = ()) -> None:
        self._sorted = _array([])
        self._new: set[int] = set()
        self.merge(digests)

    def __contains__(self, id: str) -> bool:
        digest = _digest(id)
        place = int(np.searchsorted(self._sorted, np.uint64(digest)))
        return digest in self._new or (place < len(self._sorted) and int(self._sorted[place]) == digest)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._new)

    def add(self, id: str) -> None:
        if id not in self:
            self._new.add(_digest(id))
        if len(self._new) >= self.NUM_NEW:
            self.merge([])

    def merge(self, digests: Iterable[NDArray[np.uint64]]) -> None:
        """Adds the ids of these digests, in any order, and the new ones to the sorted array."""
        # Not np.unique: it takes 2.3 s for 1,000,000 of them (NumPy 2.4).
        merged = np.sort(np.concatenate([self._sorted, _array(self._new), *digests]), kind="stable")
        is_first = np.ones(len(merged), bool)
        is_first[1:] = merged[1:] != merged[:-1]
        self._sorted, self._new = merged[is_first], set()


class Manifest:
    """The manifest in the folder `manifest` of a store. Any number of processes may record, compact and read it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._in_parts, self._parts = Done(), set[str]()  # ids in the parts read so far, and those parts
        self._bounds: dict[str, tuple[int, int]] = {}  # first and last ordinal of a part

    def __reduce__(self) -> tuple[type["Manifest"], tuple[Store]]:
        return Manifest, (self.store,)

    def record(self, row: VideoRow) -> bool:
        """Commits a video (rule 1). False, and nothing is written, if there is a record of its id."""
        row.check()
        return self.store.create(_record_path(row.id), json.dumps(asdict(row), default=datetime.isoformat).encode())

    def compact(self, min_rows: int = 1) -> int:
        """Moves records to parts (rules 2 and 3) if there are at least `min_rows`. Returns the number of moved rows."""
        waiting = self.store.list(RECORDS)
        if len(waiting) < min_rows:
            return 0
        return sum(self._compact(waiting[i : i + PART_ROWS]) for i in range(0, len(waiting), PART_ROWS))

    def done(self, retry_failed: bool = False) -> Done:
        """The finished ids. With `retry_failed` failed rows are deleted first, which frees their ids.

        No other process may compact meanwhile.
        """
        if retry_failed:
            self._forget_failed()
        records = _array(_digest(row.id) for row in self._records())
        return Done([records, *map(self._digests, self._part_paths())])

    def rows(self) -> Iterator[VideoRow]:
        """All rows, each id once: part after part, then the records in the order of the job."""
        waiting = {row.id: row for row in self._records()}
        for path in self._part_paths():
            for batch in self._open(path).iter_batches(1000):
                for row in _rows(batch):
                    waiting.pop(row.id, None)
                    yield row
        yield from sorted(waiting.values(), key=lambda row: row.ordinal)

    def between(self, ordinals: range) -> Iterator[VideoRow]:
        """The rows of a range of places in the job. A part without any of them is read once, not in every call."""
        waiting = {row.id: row for row in self._records() if row.ordinal in ordinals}
        inside = (pc.field("ordinal") >= ordinals.start) & (pc.field("ordinal") < ordinals.stop)
        for path in self._part_paths():
            first, last = self._bounds.get(path, (ordinals.start, ordinals.start))
            if first < ordinals.stop and last >= ordinals.start:
                table = self._open(path).read()
                bounds = pc.min_max(table["ordinal"]).as_py()
                self._bounds[path] = (bounds["min"] or 0, bounds["max"] or 0)
                for row in _rows(table.filter(inside)):
                    waiting.pop(row.id, None)
                    yield row
        yield from waiting.values()

    def table(self) -> pa.Table:
        """All rows in parts: about 1 KB of memory per row."""
        parts = (self._open(path).read() for path in self._part_paths())
        # A part from an earlier release may lack a column.
        return pa.concat_tables([SCHEMA.empty_table(), *parts], promote_options="default")

    def find(self, id: str) -> VideoRow:
        """The row of an id. Raises ValueError, with the id and the manifest, if there is none."""
        record = next(self._records([_record_path(id)]), None)
        for path in self._part_paths():
            for row in _rows(self._open(path).read().filter(pc.field("id") == id)):
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

    def _forget_failed(self) -> None:
        self.compact()
        for path in self._part_paths():
            table = self._open(path).read()
            kept = table.filter(pc.field("status") == "done")
            if len(kept) < len(table):
                self.store.put(path, _parquet(kept))
        self._in_parts, self._parts, self._bounds = Done(), set(), {}

    def _records(self, paths: Sequence[str] | None = None) -> Iterator[VideoRow]:
        """The records at `paths`, or all. A record that was deleted after the listing is in a part."""
        for data in self.store.get_each(self.store.list(RECORDS) if paths is None else paths):
            if data is not None:
                row = json.loads(data)
                yield VideoRow(**{**row, "finished_at": datetime.fromisoformat(row["finished_at"])})

    def _digests(self, part: str) -> NDArray[np.uint64]:
        return _array(map(_digest, self._open(part).read(["id"])["id"].to_pylist()))

    def _part_paths(self) -> list[str]:
        return [path for path in self.store.list(FOLDER) if PART.fullmatch(path)]

    def _open(self, path: str) -> pq.ParquetFile:
        # The whole file in one request: 10,000 rows are 1 to 5 MB, most of it prompts.
        return pq.ParquetFile(pa.BufferReader(self.store.get(path)))


def cues_text(cues: Sequence[Cue]) -> str | None:
    """The value of the column `cues`: a JSON list of {from_frame, prompt}, or None without cues."""
    return json.dumps([asdict(cue) for cue in cues], ensure_ascii=False) if cues else None


def read_cues(text: str | None) -> tuple[Cue, ...]:
    """Inverse of `cues_text`."""
    return tuple(Cue(**cue) for cue in json.loads(text or "[]"))


def safe_name(id: str) -> str:
    """A file name for any id: at most 97 letters, digits, ".", "_" and "-", not hidden, different for different ids.

    A lower-case id of these characters is its own name. Any other name ends with 16 digits of the id's sha256, and so
    does that of an id that looks like such a name. With 8 digits, two of 100,000 ids without a Latin letter would share
    a name.
    """
    name = re.sub(r"^\.|[^A-Za-z0-9._-]", "_", id)[:80]
    if name == id and name and name == name.lower() and not re.search(r"-[0-9a-f]{16}$", name):
        return name
    return f"{name}-{sha256(id.encode()).hexdigest()[:16]}"


def shard_of(id: str) -> str:
    """The name of one of 4096 folders: three hexadecimal digits."""
    return sha256(id.encode()).hexdigest()[:3]


def _record_path(id: str) -> str:
    return f"{RECORDS}/{sha256(id.encode()).hexdigest()[:2]}/{safe_name(id)}.json"


def _number(part: str) -> int:
    match = PART.fullmatch(part)
    assert match, part
    return int(match[1])


def _digest(id: str) -> int:
    return int.from_bytes(blake2b(id.encode(), digest_size=8).digest(), "little")


def _array(digests: Iterable[int]) -> NDArray[np.uint64]:
    return np.fromiter(digests, np.uint64)


def _table(rows: Sequence[VideoRow]) -> pa.Table:
    return pa.table({name: [getattr(row, name) for row in rows] for name in SCHEMA.names}, SCHEMA)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _rows(table: pa.Table | pa.RecordBatch) -> Iterator[VideoRow]:
    return (VideoRow(**row) for row in table.to_pylist())
