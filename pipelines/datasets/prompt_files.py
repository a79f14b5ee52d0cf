"""Prompt files, read row by row: .parquet, .jsonl (or .ndjson), .csv, .tsv and .txt; all but parquet also as .gz.

`tables.py` reads the rows. Only values that JSON can hold are kept. A file that cannot be read at all is refused before
the first row. A folder named `num_frames=24` is a column of all rows below it: pandas and Spark
divide tables so.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from fsspec import AbstractFileSystem

from longtake.pipelines.datasets.places import place_of
from longtake.pipelines.datasets.tables import KINDS, Keep, Read, is_blank, listed, read_table
from longtake.pipelines.files.store import NUM_REQUESTS

COLUMNS = ("prompt",)  # that a file must have
NULL = "__HIVE_DEFAULT_PARTITION__"  # the value of a folder for rows without one


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A file that `url` opens; `name` is its path below the given folder."""

    url: str
    name: str

    @property
    def kind(self) -> str:
        return PurePosixPath(self.name.removesuffix(".gz")).suffix.lower()

    @property
    def stem(self) -> str:
        """The beginning of the ids of rows without one: `a-b` for `a/b.jsonl.gz`."""
        return self.name.removesuffix(".gz").rpartition(".")[0].replace("/", "-")

    @property
    def folder_fields(self) -> dict[str, str | None]:
        """The columns that its folders are, with their value in all of its rows."""
        return _fields_of(self.name)

    @property
    def outer_fields(self) -> dict[str, str | None]:
        """Such columns of the folders above the given one."""
        return _fields_of(self.url.removesuffix(self.name))


def find_files(prompts: str) -> list[PromptFile]:
    """The files of a path, a folder (all below it) or a glob, by name. Raises ValueError naming `prompts`.

    Names are relative to the file's folder, the folder, or the part of the glob before its first wildcard: names and
    ids of rows stay the same when files are added.
    """
    try:
        place = place_of(prompts)
        base, paths = list_files(place.fs, place.path)
    except Exception as error:  # unknown protocol, package, bucket, credentials: each library has its own
        raise ValueError(f"prompts={prompts}: {str(error) or type(error).__name__}") from error
    files = [PromptFile(place.at(path).url, path.removeprefix(f"{base}/")) for path in paths]
    if not files:
        raise ValueError(f"prompts={prompts}: no such file, or an empty folder")
    try:
        _check_names(files)
        with ThreadPoolExecutor(NUM_REQUESTS) as pool:
            list(pool.map(_check_columns, files))
    except ValueError as error:
        raise ValueError(f"prompts={prompts}: {error}") from None
    return sorted(files, key=lambda file: file.name)


def read_file(file: PromptFile, keep: Keep) -> Iterator[tuple[Read, list[str]]]:
    """The rows of a file, reduced to the columns that `keep` selects, and the names of the others. Reads as taken.

    Raises ValueError, naming the file, for bytes that are not text, and for a table that cannot be read to its end.
    """
    number = 0
    with _open(file) as opened:
        try:
            table = read_table(opened, file.kind, COLUMNS, keep)
            left_out = [name for name in table.columns if not keep(name)]  # in a header; each object has its own names
            above = file.folder_fields
            around = [name for name in above if not keep(name)] + [name for name in file.outer_fields if keep(name)]
            for number, fields, reason in table.rows:
                others = left_out
                if fields is not None:
                    others = left_out or [name for name in fields if not keep(name)]
                    faults = {name: _fault(name, value, above) for name, value in fields.items() if keep(name)}
                    fields = {name: fields[name] for name, fault in faults.items() if fault is None}
                    fields |= {name: value for name, value in above.items() if keep(name)}
                    reason = next(filter(None, faults.values()), None)
                yield (number, fields, reason), [*others, *around]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield (number + 1, None, f"the rest of the file cannot be unpacked: {error}"), []
        except (OSError, ValueError) as error:
            raise ValueError(f"{file.name}: {error}") from error


def list_files(fs: AbstractFileSystem, path: str) -> tuple[str, list[str]]:
    """The folder that names are relative to, and the paths of the files."""
    if fs.isfile(path):
        return path.rpartition("/")[0], [path]
    if fs.isdir(path) or not has_magic(path):
        hidden = re.compile(r"/[._]")  # left by other programs: .cache, _SUCCESS
        return path, [found for found in fs.find(path) if not hidden.search(found.removeprefix(path))]
    base = path[: re.search(r"[*?[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]  # it has magic
    return base, [found for found, info in fs.glob(path, detail=True).items() if info["type"] == "file"]


def _check_names(files: list[PromptFile]) -> None:
    stems: dict[str, str] = {}
    for file in files:
        if file.kind not in KINDS or (file.kind == ".parquet" and file.name.endswith(".gz")):
            raise ValueError(f"{file.name} is not a prompt file ({', '.join(KINDS)}; all but parquet also .gz)")
        if file.stem in stems:
            raise ValueError(f"{stems[file.stem]} and {file.name} would give their rows the same ids; rename one")
        stems[file.stem] = file.name


def _check_columns(file: PromptFile) -> None:
    """Raises ValueError for a file without a column of prompts, or one that cannot be read."""
    try:
        with _open(file) as opened:
            names = [*read_table(opened, file.kind, COLUMNS).columns, *file.folder_fields]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{file.name} cannot be read: {error}") from None
    if "prompt" not in names:
        raise ValueError(f"{file.name} has no column prompt; its columns are: {listed(names)}")


@contextmanager
def _open(file: PromptFile) -> Iterator[BinaryIO]:
    with place_of(file.url).open() as opened:
        if file.name.endswith(".gz"):
            with gzip.open(opened) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield opened


def _fields_of(path: str) -> dict[str, str | None]:
    pairs = (folder.split("=", 1) for folder in path.split("/")[:-1] if "=" in folder.strip("="))
    return {unquote(name): None if value == NULL else unquote(value) for name, value in pairs}


def _fault(name: str, value: Any, above: Mapping[str, str | None]) -> str | None:
    """Why a value cannot be used: JSON in UTF-8 cannot hold it, or a folder has another one. None if it can."""
    if name in above and not is_blank(value) and str(value) != above[name]:
        return f"{name}={value!s:.60}: the row is in a folder named {name}={above[name] or NULL}"
    try:
        json.dumps({name: value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return f"{name!a} is not text in UTF-8"
    except (TypeError, ValueError):
        return f"{name}={value!s:.60} is neither text nor a number, but of type {type(value).__name__}"
    return None
