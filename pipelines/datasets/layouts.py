"""Output layouts for dataset readers, made from finished videos and their manifest rows.

webdataset    shards/000000.tar with <name>.mp4, <name>.json, <name>.txt; a shard holds the rows of a range of ordinals
videofolder   videos/metadata.parquet beside the videos: `file_name` and a column for each field, as Hugging Face
              datasets read it

Both are functions of the manifest, so they are the same however often the job was killed.
"""

import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from longtake.pipelines.datasets.manifest import SCHEMA, Manifest, VideoRow
from longtake.pipelines.datasets.names import member_name
from longtake.pipelines.files.store import Store

FIELDS = frozenset(VideoRow.__dataclass_fields__)
JSON_BYTES = 1 << 18  # read of a shard to find the fields of its JSON: more than the longest prompts and notes take
CARD = "README.md"
SIGNATURE = "Videos made from text by Longtake."  # marks a card that we may overwrite

# They differ from run to run, and so stay out of files that are compared byte by byte.
TIMES = ("generate_s", "refine_s", "encode_s", "attempts", "finished_at")


def member_of(shard: int, video_id: str) -> str:
    """The path in the manifest of a video of a webdataset: its shard, and its name there."""
    return f"{_tar(shard)}#{member_name(video_id)}.mp4"


def file_of(path: str) -> str:
    """The file to which the video of a manifest row is written; a member of a shard waits there for the others."""
    tar, hash_sign, name = path.partition("#")
    return path if not hash_sign else f"{_waiting(tar)}/{name}"


def loose_shards(store: Store) -> set[int]:
    """The shards that have videos waiting to be packed."""
    found = (re.match(r"videos/(\d{6,})/", path) for path in store.list("videos"))
    return {int(match[1]) for match in found if match}


def pack_shard(store: Store, manifest: Manifest, shard: int, size: int) -> int:
    """Writes a shard with all its finished videos, then deletes the loose files. Returns the number of videos.

    A shard that already has exactly these videos is left alone.
    """
    loose = set(store.list(_waiting(_tar(shard))))
    found = manifest.between(range(shard * size, (shard + 1) * size))
    rows = sorted((row for row in found if row.path is not None), key=lambda row: row.ordinal)
    with _opened(store, _tar(shard)) as before:
        packed = {info.name for info in _whole_members(before) if info.name.endswith(".mp4")}
        rows = [row for row in rows if file_of(row.path or "") in loose or _member(row) in packed]  # others are lost
        waits = any(file_of(row.path or "") in loose for row in rows)
        if waits or packed != {_member(row) for row in rows}:
            with _rewritten(store, _tar(shard), keep=bool(rows)) as tar:
                for row in rows:
                    _add_video(tar, row, before, store, loose)
    store.delete(*loose)
    return len(rows)


def missing_in_shards(manifest: Manifest) -> list[str]:
    """The ids of finished videos that their shards, which are there, do not have.

    A shard whose last member is where it should be has all of them; only another one is read. A shard that was packed
    before there were all the fields of today is compared with its own fields.
    """
    store = manifest.store
    sizes, loose = store.sizes("shards"), set(store.list("videos"))
    ends = _ends_of(manifest, loose, {tar: _ShardEnd() for tar in sizes})
    unsure = {tar: end for tar, end in ends.items() if not end.is_in(store, tar, sizes[tar])}
    own = {tar: _ShardEnd(_fields_in(store, tar, end, sizes[tar])) for tar, end in unsure.items()}
    unsure = _ends_of(manifest, loose, own)
    there = {tar: _videos_in(store, tar) for tar, end in unsure.items() if not end.is_in(store, tar, sizes[tar])}
    rows = manifest.rows() if there else ()
    return [row.id for row in rows if _member(row) not in there.get(_shard_of(row, loose), {_member(row)})]


@dataclass(slots=True)
class _ShardEnd:
    """The place of the last member of a shard, by the rows of its videos."""

    fields: Container[str] = FIELDS  # of its JSON
    num_bytes: int = 0
    bounds: tuple[int, int] = (-1, -1)  # the least and the greatest ordinal
    first: tuple[str, int] = ("", 0)  # members and their sizes
    last: tuple[str, int] = ("", 0)

    def add(self, row: VideoRow) -> None:
        texts = _texts(row, self.fields)
        members = [(_member(row), row.size_bytes or 0), *((name, len(data)) for name, data in texts.items())]
        self.num_bytes += sum(_tar_bytes(*member) for member in members)
        least, greatest = self.bounds
        if least < 0 or row.ordinal < least:
            self.first, least = members[0], row.ordinal
        if row.ordinal > greatest:
            self.last, greatest = members[-1], row.ordinal
        self.bounds = least, greatest

    def is_in(self, store: Store, path: str, size: int) -> bool:
        """Whether it is in a shard of `size` bytes: if anything before it is missing, it is not at its place."""
        start, header = self.num_bytes - _tar_bytes(*self.last), _header(*self.last)
        return size >= self.num_bytes and store.get_part(path, start, start + len(header)) == header


def _ends_of(manifest: Manifest, loose: Container[str], ends: dict[str, _ShardEnd]) -> dict[str, _ShardEnd]:
    """Those of `ends` that rows are in, after their rows."""
    for row in manifest.rows() if ends else ():
        if (tar := _shard_of(row, loose)) in ends:
            ends[tar].add(row)
    return {tar: end for tar, end in ends.items() if end.num_bytes}


def _fields_in(store: Store, path: str, end: _ShardEnd, size: int) -> Container[str]:
    """The fields in the JSON of the first video of a shard of `size` bytes, if it is where it should be."""
    start = _tar_bytes(*end.first)
    if start >= size:
        return end.fields
    data = io.BytesIO(store.get_part(path, start, start + JSON_BYTES))
    with suppress(tarfile.TarError, ValueError, TypeError), tarfile.open(fileobj=data) as part:
        info = part.next()
        if info is not None and info.name.endswith(".json"):
            return frozenset(dict(json.loads(_read(part, info.name))))
    return end.fields


def _shard_of(row: VideoRow, loose: Container[str]) -> str:
    """The shard that a video has been packed into; empty for another."""
    tar, is_packed, _ = (row.path or "").partition("#")
    return tar if is_packed and file_of(row.path or "") not in loose else ""


def _videos_in(store: Store, path: str) -> set[str]:
    with _opened(store, path) as tar:
        return {info.name for info in _whole_members(tar)}


def _whole_members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members up to the end of the file, where a copy may have broken off."""
    assert tar.name is not None, "a tar in a file"
    end, found = os.path.getsize(tar.name), []
    try:
        for info in tar:
            if info.offset_data + info.size <= end:
                found.append(info)
    except tarfile.ReadError:
        pass
    return found


def _tar_bytes(name: str, size: int) -> int:
    return len(_header(name, size)) + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _header(name: str, size: int) -> bytes:
    return _info(name, size).tobuf(tarfile.PAX_FORMAT)


def _info(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # without owner, and with time 0: the same bytes in every run
    member.size = size
    return member


def delete_videos(store: Store, rows: Iterable[VideoRow]) -> None:
    """Deletes the files of finished videos, and takes those of a webdataset out of their shards."""
    members: dict[str, set[str]] = {}
    files = []
    for row in rows:
        assert row.path is not None, "only finished videos have files"
        files += [path for path in (file_of(row.path), row.preview, row.thumbnail) if path is not None]
        tar, is_member, name = row.path.partition("#")
        if is_member:
            members.setdefault(tar, set()).add(name.removesuffix(".mp4"))
    for tar, names in members.items():
        _take_out(store, tar, names)
    store.delete(*files)


def _take_out(store: Store, path: str, names: set[str]) -> None:
    with _opened(store, path) as before:
        infos = _whole_members(before)
        kept = [info for info in infos if info.name.partition(".")[0] not in names]
        if len(kept) < len(infos):
            with _rewritten(store, path, keep=bool(kept)) as tar:
                for info in kept:
                    tar.addfile(info, before.extractfile(info))


@contextmanager
def _opened(store: Store, path: str) -> Iterator[tarfile.TarFile]:
    """A tar of the store, an empty one if it does not exist, or nothing in it can be read."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "old.tar")
        if store.exists(path):
            store.get_file(path, copy)
        if not copy.exists() or not tarfile.is_tarfile(copy):
            tarfile.open(copy, "w").close()
        with tarfile.open(copy) as tar:
            yield tar


@contextmanager
def _rewritten(store: Store, path: str, keep: bool) -> Iterator[tarfile.TarFile]:
    """A new tar that replaces the one in the store; it is deleted if there is nothing to keep."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, "new.tar")
        with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        if keep:
            store.put_file(path, new)
        else:
            store.delete(path)


def _add_video(tar: tarfile.TarFile, row: VideoRow, before: tarfile.TarFile, store: Store, loose: set[str]) -> None:
    """Adds the members of a video, from its loose file or from the old shard."""
    assert row.path is not None, "only finished videos are packed"
    name, file = _member(row).removesuffix(".mp4"), file_of(row.path)
    _add(tar, f"{name}.mp4", store.get(file) if file in loose else _read(before, f"{name}.mp4"))
    for text, data in _texts(row).items():
        _add(tar, text, data)


def _texts(row: VideoRow, names: Container[str] = FIELDS) -> dict[str, bytes]:
    """The members beside the video; the JSON has those of its fields that are in `names`."""
    name = _member(row).removesuffix(".mp4")
    # Hugging Face's reader infers types from the first five rows: if they have nulls, it refuses text later.
    known = {key: value for key, value in plain_fields(row).items() if key in names}
    fields = {key: _blank(key) if value is None else value for key, value in known.items()}
    prompt = row.prompt.encode() if row.prompt else b""
    return {f"{name}.json": json.dumps(fields, sort_keys=True).encode(), f"{name}.txt": prompt}


def _blank(name: str) -> str | int:
    """The value of a column that a row lacks, of the type that the others have."""
    return 0 if pa.types.is_integer(SCHEMA.field(name).type) else ""


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, name
    return file.read()


def _tar(shard: int) -> str:
    return f"shards/{shard:06}.tar"


def _waiting(tar: str) -> str:
    """The folder of the videos that wait for a shard."""
    return tar.replace("shards/", "videos/").removesuffix(".tar")


def _member(row: VideoRow) -> str:
    return (row.path or "").partition("#")[2]


def write_metadata(store: Store, manifest: Manifest) -> int:
    """Writes videos/metadata.parquet for all finished videos, in the order of the job. Returns their number."""
    table = manifest.table().filter(pc.field("status") == "done").sort_by("ordinal").drop_columns(list(TIMES))
    names = pc.replace_substring_regex(table["path"], "^videos/", "")
    buffer = io.BytesIO()
    pq.write_table(table.add_column(0, "file_name", names), buffer, compression="zstd")
    store.put("videos/metadata.parquet", buffer.getvalue())
    return len(table)


def write_card(store: Store, manifest: Manifest, data_files: str) -> None:
    """Writes the dataset card by which Hugging Face's `load_dataset` finds the rows of the folder.

    Its description changes with the rows: the cache of `load_dataset` is keyed by the card, not by the files. A
    README.md that the user wrote is left alone.
    """
    if store.exists(CARD) and SIGNATURE not in store.get(CARD).decode(errors="replace"):
        return
    table = manifest.table(["ordinal", "id", "sha256"]).sort_by("ordinal")
    digest = sha256(json.dumps(table.to_pylist()).encode()).hexdigest()[:16]
    config = f"configs:\n- config_name: default\n  description: rows {digest}\n  data_files:\n"
    text = f"{SIGNATURE} `manifest/*.parquet` has a row for each, failed ones included.\n"
    store.put(CARD, f'---\n{config}  - split: train\n    path: "{data_files}"\n---\n\n{text}'.encode())


def plain_fields(row: VideoRow) -> dict[str, object]:
    """The fields that are the same in every run."""
    return {name: getattr(row, name) for name in VideoRow.__dataclass_fields__ if name not in TIMES}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))
