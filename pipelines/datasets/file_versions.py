"""Versions of files: a text that changes when the bytes do, without reading all of them.

A store that names the bytes itself (an ETag, a CRC) is believed. A local file has its size, its time of change in whole
seconds and three pieces of it: a copy that keeps the times is the same version, and another file that was put in its
place with the same size and time is not. The inode and the time of the inode's change would change with a copy.
"""

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from longtake.pipelines.datasets.places import Place

CHANGES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "CRC", "created")  # of file systems
PIECE = 1 << 14  # bytes; the tables of an mp4, which differ with its frames, are at its beginning or its end


def version_of(place: Place, info: Mapping[str, Any]) -> str:
    """The version of a file; `info` is what its file system says of it."""
    if isinstance(place.fs, LocalFileSystem):
        with suppress(OSError):  # it cannot be opened, and its row will say so
            return _local_version(Path(place.path))
    change = next((info[key] for key in CHANGES if key in info), None)
    return f"{info.get('size')} bytes, {change}"


def _local_version(path: Path) -> str:
    known = path.stat()  # of what a link leads to
    digest = sha256()
    if S_ISREG(known.st_mode):  # a pipe would wait
        with path.open("rb") as file:
            for start in (0, known.st_size // 2, known.st_size - PIECE):
                file.seek(max(0, start))
                digest.update(file.read(PIECE))
    return f"{known.st_size} bytes, {int(known.st_mtime)} s, {digest.hexdigest()[:16]}"
