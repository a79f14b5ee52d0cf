"""The files of a job: a folder on a local disk or in an object store (any fsspec URL).

1. A file is whole or absent, whenever a process is killed. A local one is written under a temporary name in
   the same folder, made durable and renamed; an object store shows an object after its upload.
2. `create` makes a file once: of all callers, one gets True. On a disk without hard links and in an object store
   without conditional writes it first checks that there is none: two callers at the same moment may both get True.
3. A listing is fresh, without temporary names.
4. A killed process may leave a temporary file, `.NAME.xxxxxxxx.part`. `sweep` removes them all.
5. An object store that does not answer is asked again for some minutes, with pauses that grow, before an error counts.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fsspec import AbstractFileSystem
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from longtake.pipelines.files.patience import PATIENCE_S, Patience

Paths = list[str]  # Store has a method named `list`
T = TypeVar("T")

# Simultaneous requests: one to S3 takes some 20 ms, and 10,000 records are read and deleted one by one.
NUM_REQUESTS = 16

PROBE_BYTES = 4096  # an empty file fits onto a full disk
RAY_COPIES = "runtime_resources"

# Errors of file systems that cannot create a file exclusively: exFAT, mounted buckets, some copies of S3.
NOT_SUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EPERM)


class Store:
    """A folder. Paths are relative to it, with slashes; it is small to pickle and opens itself in each process."""

    def __init__(self, url: str | os.PathLike[str], patience_s: float = PATIENCE_S) -> None:
        """An object store that does not answer is asked again for `patience_s`: rule 5."""
        url = os.fspath(url)
        is_local = split_protocol(url)[0] in (None, "file", "local")
        # Absolute: a process with another working directory may open it.
        self.local_path = _local_path(url) if is_local else None
        self.url = str(self.local_path) if is_local else url
        self._patience = Patience(self.url, patience_s)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, float]]:
        return Store, (self.url, self._patience.patience_s)

    def __str__(self) -> str:
        return self.url

    def check(self, option: str) -> None:
        """Writes and deletes a file. Raises ValueError naming `option`, the URL and the reason if that fails.

        Also refuses a folder in Ray's copy of a working directory, where nobody would find the files again.
        """
        if self.local_path is not None:
            refuse_ray_copy(option, self.local_path)
        probe = f".probe-{secrets.token_hex(4)}"
        try:
            self._put_once(probe, bytes(PROBE_BYTES))
            self.delete(probe)
        except Exception as error:  # unknown protocol, package, bucket, credentials, rights: each library has its own
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ValueError(f"{option}={self}: no file can be written there ({reason})") from error

    def put(self, path: str, data: bytes) -> None:
        """Writes or overwrites a file: rule 1."""
        self._patiently(lambda: self._put_once(path, data))

    def _put_once(self, path: str, data: bytes) -> None:
        if self.local_path is None:
            self._fs.pipe_file(self._at(path), data)
            return
        with _part(self.local_path / path, data) as part:
            part.replace(self.local_path / path)

    def put_file(self, path: str, source: Path) -> None:
        """As `put`, for a local file that may be larger than memory."""
        if self.local_path is None:
            self._patiently(lambda: self._fs.put_file(str(source), self._at(path)))
            return
        with _part(self.local_path / path, source) as part:
            part.replace(self.local_path / path)

    def create(self, path: str, data: bytes) -> bool:
        """Writes a new file: rules 1 and 2. Returns False, without writing, if it exists."""
        try:
            self._patiently(lambda: self._create(path, data))
        except OSError as error:  # also a conflict with another process that creates it
            if error.errno != errno.ETIMEDOUT and self.exists(path):
                return False
            if error.errno not in NOT_SUPPORTED:
                raise
            self.put(path, data)
        return True

    def get(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        data: bytes = self._patiently(lambda: self._fs.cat_file(self._at(path)))
        return data

    def get_part(self, path: str, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)` of a file. Raises FileNotFoundError."""
        data: bytes = self._patiently(lambda: self._fs.cat_file(self._at(path), start, stop))
        return data

    def size(self, path: str) -> int:
        """Size in bytes. Raises FileNotFoundError."""
        self._fs.invalidate_cache()
        return int(self._patiently(lambda: self._fs.size(self._at(path))))

    def get_file(self, path: str, target: Path) -> None:
        """As `get`, into a local file, which may be larger than memory."""
        self._patiently(lambda: self._fs.get_file(self._at(path), str(target)))

    def get_each(self, paths: Iterable[str]) -> list[bytes | None]:
        """Many files at a time; None for a missing one."""
        return _each(self._get_if_there, paths)

    def exists(self, path: str) -> bool:
        self._fs.invalidate_cache()  # s3fs would look into the last listing
        return bool(self._patiently(lambda: self._fs.exists(self._at(path))))

    def delete(self, *paths: str) -> None:
        """Removes files; missing ones are ignored."""
        _each(self._delete, paths)

    def remove(self, folder: str) -> None:
        """Removes a folder with all its files. No other process may be writing there."""
        if self.local_path is None:
            self.delete(*self.list(folder))
        else:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.local_path / folder)

    def sweep(self) -> None:
        """Removes temporary files: rule 4. No other process may be writing here."""
        if self.local_path is not None:
            for path in _walk(self.local_path):
                if _is_part(path.name):
                    path.unlink(missing_ok=True)  # it may have been renamed meanwhile

    def list(self, folder: str = "") -> Paths:
        """Paths of all files below `folder`, sorted; none if there is no such folder."""
        if self.local_path is not None:
            files = (path for path in _walk(self.local_path / folder) if not _is_part(path.name))
            return sorted(path.relative_to(self.local_path).as_posix() for path in files)
        self._fs.invalidate_cache()
        root = self._at("")
        return sorted(path.removeprefix(root) for path in self._find(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file of `list`, by its path."""
        if self.local_path is not None:
            return {path: (self.local_path / path).stat().st_size for path in self.list(folder)}
        self._fs.invalidate_cache()
        found = self._find(folder)
        return {path.removeprefix(self._at("")): int(info["size"]) for path, info in sorted(found.items())}

    def _find(self, folder: str) -> dict[str, Any]:
        """Path and details of each file below `folder` of an object store."""
        place = self._at(folder).rstrip("/")
        found: dict[str, Any] = self._patiently(lambda: self._fs.find(place, detail=True))
        return found

    def _create(self, path: str, data: bytes) -> None:
        if self.local_path is None:
            self._fs.pipe_file(self._at(path), data, mode="create")
            return
        with _part(self.local_path / path, data) as part:
            os.link(part, self.local_path / path)  # a rename would replace an existing file

    def _get_if_there(self, path: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return self.get(path)
        return None

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._fs.rm_file(self._at(path)))

    def _patiently(self, call: Callable[[], T]) -> T:
        """Rule 5; a local folder answers at once or never."""
        return call() if self.local_path is not None else self._patience.call(call)

    @cached_property
    def _place(self) -> tuple[AbstractFileSystem, str]:
        # A local path is not a URL: fsspec would read `a::b` as a chain of two.
        fs, root = url_to_fs(self.url) if self.local_path is None else (LocalFileSystem(), self.url)
        return fs, root.rstrip("/")

    @property
    def _fs(self) -> AbstractFileSystem:
        return self._place[0]

    def _at(self, path: str) -> str:
        return f"{self._place[1]}/{path}"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the path to a system error that names none, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def refuse_ray_copy(option: str, path: Path) -> None:
    """Raises ValueError for a place in the folder that Ray unpacks for `ray job submit --working-dir`."""
    if RAY_COPIES in path.absolute().parts:
        raise ValueError(
            f"{option}={path}: this is Ray's copy of the working directory, which it deletes; give an absolute path "
            "that all machines share, or a URL"
        )


def _local_path(url: str) -> Path:
    """The absolute path of a `file://` URL or of a path, in which no character is special."""
    if "://" in url:
        return Path(LocalFileSystem._strip_protocol(url))
    return Path(os.path.abspath(os.path.expanduser(url)))


@contextmanager
def _part(path: Path, data: bytes | Path) -> Iterator[Path]:
    """A durable temporary file beside `path`. Its name is random, so that two writers of one file do not mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with named(path), part.open("xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                with data.open("rb") as source:
                    shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)  # after a rename there is none


def _is_part(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _walk(folder: Path) -> Iterator[Path]:
    """All files below. fsspec's own `find` omits a folder in which a file vanishes meanwhile."""
    for parent, _, names in os.walk(folder, onerror=_unless_missing):
        yield from (Path(parent, name) for name in names)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _each(call: Callable[[str], T], paths: Iterable[str]) -> list[T]:
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        return list(pool.map(call, paths))
