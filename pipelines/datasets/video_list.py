"""Lists of videos: from the folder of a bulk job, a videofolder, a table, a folder or a glob.

a folder with manifest/           of `longtake bulk`: prompt, seed and the borders of chunks and windows are known
a folder with metadata.*          a videofolder (Hugging Face): column file_name, and optionally prompt or text
a .parquet, .csv or .jsonl file   column path or file_name, relative to the file's folder
any other folder, file or glob    the videos in it
"""

import csv
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from longtake.models.domain.plan import Plan, PlanParams
from longtake.pipelines.config.loader import from_plain
from longtake.pipelines.datasets.manifest import FOLDER, Manifest, VideoRow
from longtake.pipelines.datasets.prompt_files import list_files
from longtake.pipelines.files.store import Store

VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts"))
TABLES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Listed:
    """One video. `path` names it in the list, `url` opens it, and `member` is its name in a tar there."""

    path: str
    url: str
    member: str | None = None
    id: str | None = None
    prompt: str | None = None
    seed: int | None = None
    borders: tuple[int, ...] = ()  # frames at which its chunks and windows begin
    reason: str | None = None  # for the absence of a video

    def as_text(self) -> str:
        """The video as JSON, to be sent to a worker."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(text: str) -> "Listed":
        fields = json.loads(text)
        return Listed(**{**fields, "borders": tuple(fields["borders"])})

    def read(self) -> bytes:
        """The file, extracted from its tar if it is in one. Raises OSError, or ValueError for a member without data."""
        with fsspec.open(self.url, "rb") as file:
            if self.member is None:
                data: bytes = file.read()
                return data
            with tarfile.open(fileobj=file) as tar:
                member = tar.extractfile(self.member)
                if member is None:
                    raise ValueError(f"{self.member} is not a file in {self.url}")
                return member.read()


def list_videos(manifest: str) -> list[Listed]:
    """The videos of `manifest`, sorted by path. Raises ValueError, naming it, if it has none or cannot be read."""
    try:
        found = list(_list(manifest))
    except Exception as error:  # unknown protocol, package, bucket, broken tables: each library has its own
        raise ValueError(f"manifest={manifest}: {str(error) or type(error).__name__}") from error
    if not found:
        raise ValueError(f"manifest={manifest}: no video found")
    unique = {video.path: video for video in found}
    return [unique[path] for path in sorted(unique)]


def _list(manifest: str) -> Iterator[Listed]:
    fs, path = url_to_fs(manifest)
    path = path.rstrip("/")
    if fs.isdir(f"{path}/{FOLDER}"):
        yield from map(_ours, _with_store(Store(manifest)))
        return
    tables = [f"{path}/{folder}metadata{kind}" for folder in ("", "videos/") for kind in TABLES]
    table = next((name for name in tables if fs.isfile(name)), path if path.endswith(TABLES) else None)
    if table is not None:
        yield from _of_table(fs, table)
        return
    base, files = list_files(fs, path)
    for file in files:
        name = PurePosixPath(file)
        if name.suffix.lower() in VIDEOS and not name.name.startswith("."):  # a glob finds hidden ones too
            yield Listed(file.removeprefix(f"{base}/"), fs.unstrip_protocol(file))


def _with_store(store: Store) -> Iterator[tuple[Store, VideoRow]]:
    return ((store, row) for row in Manifest(store).rows())


def _ours(pair: tuple[Store, VideoRow]) -> Listed:
    store, row = pair
    if row.path is None:
        return Listed(f"(not made) {row.id}", "", None, row.id, row.prompt, row.seed, reason=row.reason)
    file, _, member = row.path.partition("#")
    url = f"{store.url.rstrip('/')}/{file}"
    return Listed(row.path, url, member or None, row.id, row.prompt, row.seed, _borders(row))


def _borders(row: VideoRow) -> tuple[int, ...]:
    settings: dict[str, Any] = json.loads(row.settings or "{}")
    own = {key.removeprefix("plan."): value for key, value in settings.items() if key.startswith("plan.")}
    plan = Plan(row.num_frames or 1, from_plain(PlanParams, own))
    starts = {piece.start for pieces in (plan.chunks, plan.windows) for piece in pieces}
    return tuple(sorted(start for start in starts if 0 < start < (row.num_frames or 1)))


def _of_table(fs: AbstractFileSystem, table: str) -> Iterator[Listed]:
    folder = table.rpartition("/")[0]
    for number, row in enumerate(_rows(fs, table), 1):
        name = row.get("path") or row.get("file_name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"row {number} has no path and no file_name; its columns are {', '.join(row)}")
        prompt, seed = row.get("prompt") or row.get("text") or row.get("caption"), row.get("seed")
        url = name if "://" in name or name.startswith("/") else fs.unstrip_protocol(f"{folder}/{name}")
        known = str(prompt) if prompt is not None else None
        yield Listed(name, url, None, _text(row.get("id")), known, int(seed) if seed not in (None, "") else None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _rows(fs: AbstractFileSystem, table: str) -> list[Mapping[str, Any]]:
    data: bytes = fs.cat_file(table)
    if table.endswith(".parquet"):
        rows: list[Mapping[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
        return rows
    if table.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    return [json.loads(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
