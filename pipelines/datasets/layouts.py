"""Output layouts for dataset readers, made from finished videos and their manifest rows.

webdataset    shards/000000.tar with <name>.mp4, <name>.json, <name>.txt; a shard holds the rows of a range of ordinals
videofolder   videos/metadata.parquet beside the videos: `file_name` and a column for each field, as Hugging Face
              datasets read it

Both are functions of the manifest, so they are the same however often the job was killed.
"""

import io
import json
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from longtake.pipelines.datasets.manifest import Manifest, VideoRow, safe_name
from longtake.pipelines.files.store import Store

# They differ from run to run, and so stay out of files that are compared byte by byte.
TIMES = ("generate_s", "refine_s", "encode_s", "attempts", "finished_at")


def member_of(shard: int, video_id: str) -> str:
    """The path in the manifest of a video of a webdataset: its shard, and its name there."""
    return f"{_tar(shard)}#{_key(video_id)}.mp4"


def file_of(path: str) -> str:
    """The file to which the video of a manifest row is written; a member of a shard waits there for the others."""
    tar, hash_sign, name = path.partition("#")
    return path if not hash_sign else f"{tar.replace('shards/', 'videos/').removesuffix('.tar')}/{name}"


def pack_shard(store: Store, manifest: Manifest, shard: int, size: int) -> int:
    """Writes a shard with all its finished videos, then deletes the loose files. Returns the number of videos.

    A complete shard is left alone; one that lacks videos, because they failed before, is written again.
    """
    folder = file_of(f"{_tar(shard)}#").rstrip("/")
    loose = store.list(folder)
    found = manifest.between(range(shard * size, (shard + 1) * size))
    rows = sorted((row for row in found if row.path is not None), key=lambda row: row.ordinal)
    with tempfile.TemporaryDirectory() as place:
        old, new = Path(place, "old.tar"), Path(place, "new.tar")
        if store.exists(_tar(shard)):
            store.get_file(_tar(shard), old)
        else:
            tarfile.open(old, "w").close()
        with tarfile.open(old) as before:
            packed = set(before.getnames())
            missing = [row for row in rows if f"{_key(row.id)}.mp4" not in packed]
            if missing:
                with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
                    for row in rows:
                        _add_video(tar, row, before if row not in missing else None, store)
                store.put_file(_tar(shard), new)
    store.delete(*loose)
    return len(rows)


def _add_video(tar: tarfile.TarFile, row: VideoRow, before: tarfile.TarFile | None, store: Store) -> None:
    """Adds the members of a video, from the old shard or from its loose file."""
    name = _key(row.id)
    assert row.path is not None, "only finished videos are packed"
    video = store.get(file_of(row.path)) if before is None else _read(before, f"{name}.mp4")
    _add(tar, f"{name}.mp4", video)
    _add(tar, f"{name}.json", json.dumps(plain_fields(row), sort_keys=True).encode())
    _add(tar, f"{name}.txt", row.prompt.encode() if row.prompt else b"")


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, name
    return file.read()


def _tar(shard: int) -> str:
    return f"shards/{shard:06}.tar"


def write_metadata(store: Store, manifest: Manifest) -> int:
    """Writes videos/metadata.parquet for all finished videos, in the order of the job. Returns their number."""
    table = manifest.table().filter(pc.field("status") == "done").sort_by("ordinal").drop_columns(list(TIMES))
    names = pc.replace_substring_regex(table["path"], "^videos/", "")
    buffer = io.BytesIO()
    pq.write_table(table.add_column(0, "file_name", names), buffer, compression="zstd")
    store.put("videos/metadata.parquet", buffer.getvalue())
    return len(table)


def plain_fields(row: VideoRow) -> dict[str, object]:
    """The fields that are the same in every run."""
    return {name: getattr(row, name) for name in VideoRow.__dataclass_fields__ if name not in TIMES}


def _key(video_id: str) -> str:
    """The name of a video's members, without a dot: for readers the kind of a member begins at the first dot."""
    name = safe_name(video_id)
    return name if "." not in name else f"{name.replace('.', '_')}-{sha256(video_id.encode()).hexdigest()[:8]}"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # without owner, and with time 0: the same bytes in every run
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
