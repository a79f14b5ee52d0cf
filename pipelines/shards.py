"""Layouts that readers of datasets know, made of finished videos and their manifest rows.

webdataset    shards/000000.tar with <name>.mp4, <name>.json, <name>.txt; a shard holds the rows of a range of ordinals
videofolder   videos/metadata.parquet beside the videos: `file_name` and a column for each field, as Hugging Face
              datasets read it

Both are functions of the manifest, so they come out the same however often the job was killed.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.manifest import Manifest, VideoRow, safe_name
from pipelines.storage import Store

# What differs from run to run stays out of what is compared byte by byte.
TIMES = ("generate_s", "refine_s", "encode_s", "attempts", "finished_at")


def shard_path(shard: int) -> str:
    return f"shards/{shard:06}.tar"


def loose_folder(shard: int) -> str:
    """Where the videos of a shard wait for the others."""
    return f"videos/{shard:06}"


def pack_shard(store: Store, manifest: Manifest, shard: int) -> int:
    """Writes a shard of all its finished videos, and then takes away the loose files. Returns the number of videos."""
    loose = store.list(loose_folder(shard))
    if store.exists(shard_path(shard)):  # killed after it was written and before these were deleted
        store.delete(*loose)
        return 0
    waiting = {path for path in loose if path.endswith(".mp4")}
    rows = sorted((row for row in manifest.rows() if row.path in waiting), key=lambda row: row.ordinal)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            assert row.path is not None, "it is one of the files that wait"
            name = _key(row.id)
            _add(tar, f"{name}.mp4", store.get(row.path))
            _add(tar, f"{name}.json", json.dumps(plain_fields(row), sort_keys=True).encode())
            _add(tar, f"{name}.txt", row.prompt.encode() if row.prompt else b"")
    if rows:
        store.put(shard_path(shard), buffer.getvalue())
    store.delete(*loose)
    return len(rows)


def write_metadata(store: Store, manifest: Manifest) -> int:
    """videos/metadata.parquet of all finished videos; returns their number."""
    buffer, count = io.BytesIO(), 0
    names = [name for name in VideoRow.__dataclass_fields__ if name not in TIMES]
    columns: dict[str, list[object]] = {"file_name": [], **{name: [] for name in names}}
    for row in _by_ordinal(manifest):
        if row.path is None:
            continue
        columns["file_name"].append(row.path.removeprefix("videos/"))
        for name in names:
            columns[name].append(getattr(row, name))
        count += 1
    pq.write_table(pa.table(columns), buffer)
    store.put("videos/metadata.parquet", buffer.getvalue())
    return count


def plain_fields(row: VideoRow) -> dict[str, object]:
    """The fields that do not differ from run to run."""
    return {name: getattr(row, name) for name in VideoRow.__dataclass_fields__ if name not in TIMES}


def _key(video_id: str) -> str:
    """Readers take what follows the first dot for the kind of a member, so there is none in a name."""
    name = safe_name(video_id)
    return name if "." not in name else f"{name.replace('.', '_')}-{sha256(video_id.encode()).hexdigest()[:8]}"


def _by_ordinal(manifest: Manifest) -> Iterator[VideoRow]:
    yield from sorted(manifest.rows(), key=lambda row: row.ordinal)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, and time 0: the same bytes from every run
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
