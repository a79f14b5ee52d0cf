"""Places of files: a path on this machine, or a URL, as a user writes it or as another program lists it.

A text is a path, whatever characters it has (`a::b.mp4`, `10:30.mkv`, `take#2.mp4`), unless it begins with a protocol
(`s3://`). `::` chains file systems only after one that is based on another (`zip://*.mp4::s3://b/a.zip`).
"""

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec import AbstractFileSystem
from fsspec.core import get_filesystem_class, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from longtake.pipelines.files.patience import Patience

T = TypeVar("T")

BLOCK = 1 << 16  # bytes of one read
CACHES = ("simplecache", "filecache", "blockcache", "cached")
ON_ANOTHER = ("zip", "tar", "libarchive", "dir", "reference", *CACHES)


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder: the file system and the path there."""

    fs: AbstractFileSystem
    path: str
    chain: str = ""  # of a file system on another one: its protocol, `::`, and the other's URL

    @property
    def url(self) -> str:
        """The text with which `place_of` finds the place again."""
        if self._is_local:
            return self.path
        if not self.chain:
            return str(self.fs.unstrip_protocol(self.path))
        protocol, _, rest = self.chain.partition("::")
        other, separator, _ = rest.partition("://")
        if protocol in CACHES:  # its paths are those of what it stands on
            return f"{protocol}::{other + separator if separator else ''}{self.path}"
        return f"{protocol}://{self.path.lstrip('/')}::{rest}"

    def at(self, path: str) -> "Place":
        """Another place of the file system."""
        return Place(self.fs, path, self.chain)

    def below(self, name: str) -> "Place":
        """A place in this folder; `name` may be absolute."""
        if self._is_local:
            return self.at(os.path.normpath(os.path.join(self.path or "/", name)))
        return self.at(f"{self.path}/{name}")

    def open(self) -> BinaryIO:
        """The file, to be read; waits for a store that does not answer. Raises OSError."""
        if self._is_local:
            return Path(self.path).open("rb")
        return io.BufferedReader(_Patient(self, self.patiently(lambda: self.fs.open(self.path, "rb"))), BLOCK)

    def patiently(self, call: Callable[[], T]) -> T:
        """The file system's answer to a call; waits for a store that does not answer."""
        return call() if self._is_local else Patience(self.url).call(call)

    @property
    def _is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)


class _Patient(io.RawIOBase):
    """A file in a store. A read that fails is repeated from where it began."""

    def __init__(self, place: Place, file: Any) -> None:
        self._place, self._file = place, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._place.patiently(lambda: self._file.seek(offset, whence)))

    def readinto(self, buffer: Any) -> int:
        begin = self._file.tell()
        return int(self._place.patiently(lambda: self._read(begin, buffer)))

    def _read(self, begin: int, buffer: Any) -> int:
        if self._file.tell() != begin:
            self._file.seek(begin)
        return int(self._file.readinto(buffer))

    def close(self) -> None:
        self._file.close()
        super().close()


def place_of(text: str) -> Place:
    """The place that a user wrote. Raises ValueError or ImportError for an unknown protocol or a missing package."""
    protocol = protocol_of(text)
    first, *links = text.split("::")
    if protocol is None:
        return _local(text)
    if protocol in ("file", "local"):
        return _local(text.partition("://")[2])
    if links and protocol in ON_ANOTHER:
        fs, path = url_to_fs(text)
        return Place(fs, path.rstrip("/"), "::".join([first if "://" not in first else protocol, *links]))
    kind = get_filesystem_class(protocol)
    return Place(kind(**kind._get_kwargs_from_urls(text)), kind._strip_protocol(text).rstrip("/"))


def protocol_of(text: str) -> str | None:
    """The protocol with which a text begins; None for a path of this machine."""
    if os.path.lexists(text):
        return None
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    first, separator, _ = text.partition("::")
    return match[1] if match else first if separator and first in ON_ANOTHER else None


def _local(path: str) -> Place:
    if not path:  # from an unset variable; it would mean the working directory
        raise ValueError("it names no path")
    path = path if os.path.lexists(path) else os.path.expanduser(path)
    return Place(LocalFileSystem(), os.path.abspath(path))
