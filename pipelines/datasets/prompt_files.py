"""Prompt files, read row by row: .parquet, .jsonl (or .ndjson), .csv, .tsv and .txt; all but parquet also as .gz.

An unreadable row becomes a reason, and the rows after it are read. Nulls, NaN and dates of tables become what JSON can
hold. A file that cannot be read at all is refused before the first row.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from longtake.pipelines.datasets.prompt_text import csv_text, json_of, plain_value, text_lines

# Line or row, from 1; its fields, None if it cannot be read; the reason why it is no row of prompts, if it is none.
Read = tuple[int, dict[str, Any] | None, str | None]
Keep = Callable[[str], bool]


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


def find_files(prompts: str) -> list[PromptFile]:
    """The files of a path, a folder (all below it) or a glob, by name. Raises ValueError naming `prompts`.

    Names are relative to the file's folder, the folder, or the part of the glob before its first wildcard: names and
    ids of rows stay the same when files are added.
    """
    try:
        fs, path = url_to_fs(prompts)
        base, paths = list_files(fs, path.rstrip("/"))
    except Exception as error:  # unknown protocol, package, bucket, credentials: each library has its own
        raise ValueError(f"prompts={prompts}: {str(error) or type(error).__name__}") from error
    files = [PromptFile(fs.unstrip_protocol(path), path.removeprefix(f"{base}/")) for path in paths]
    if not files:
        raise ValueError(f"prompts={prompts}: no such file, or an empty folder")
    try:
        _check_names(files)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(_check_columns, files))
    except ValueError as error:
        raise ValueError(f"prompts={prompts}: {error}") from None
    return sorted(files, key=lambda file: file.name)


def read_file(file: PromptFile, keep: Keep) -> Iterator[Read]:
    """The rows of a file, reduced to the columns that `keep` selects, without blank lines. Reads as they are taken.

    Raises ValueError naming the file for bytes that are no text, and for a table that cannot be read to its end.
    """
    number = 0
    with _open(file) as opened:
        try:
            for number, fields, reason in READERS[file.kind](opened, keep):
                if fields is not None:
                    faults = {name: _fault(name, value) for name, value in fields.items() if keep(name)}
                    fields = {name: fields[name] for name, fault in faults.items() if fault is None}
                    reason = next(filter(None, faults.values()), None)
                yield number, fields, reason
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield number + 1, None, f"the rest of the file cannot be unpacked: {error}"
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
        if file.kind not in READERS or (file.kind == ".parquet" and file.name.endswith(".gz")):
            raise ValueError(f"{file.name} is not a prompt file ({', '.join(READERS)}; all but parquet also .gz)")
        if file.stem in stems:
            raise ValueError(f"{stems[file.stem]} and {file.name} would give their rows the same ids; rename one")
        stems[file.stem] = file.name


def _check_columns(file: PromptFile) -> None:
    """Raises ValueError for a file without a column of prompts, or one that cannot be read."""
    try:
        with _open(file) as opened:
            names = HEADERS[file.kind](opened) if file.kind in HEADERS else ["prompt"]
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise ValueError(f"{file.name} cannot be read: {error}") from None
    if "prompt" not in names:
        raise ValueError(f"{file.name} has no column prompt; its columns are: {', '.join(names) or 'none'}")
    if any(name and names.count(name) > 1 for name in names):
        raise ValueError(f"{file.name} has two columns with the same name; its columns are: {', '.join(names)}")


@contextmanager
def _open(file: PromptFile) -> Iterator[BinaryIO]:
    fs, path = url_to_fs(file.url)
    with fs.open(path, "rb", compression="gzip" if file.name.endswith(".gz") else None) as opened:
        yield opened


def _jsonl(file: BinaryIO, _: Keep) -> Iterator[Read]:
    for number, line in enumerate(text_lines(file), 1):
        if line.strip():
            try:
                fields = json_of(line)
            except ValueError as error:
                yield number, None, str(error)
                continue
            if isinstance(fields, dict):
                yield number, fields, None
            else:
                yield number, None, 'the line is not a JSON object such as {"prompt": "..."}'


def _csv(file: BinaryIO, _: Keep) -> Iterator[Read]:
    table = csv_text(file, ["prompt"], strict=True)
    rows, names = table.rows, table.names
    while True:
        number = table.num_lines + rows.line_num + 1
        try:
            values = next(rows, None)
        except csv.Error as error:
            yield number, None, f"the row is not valid CSV: {error}"
            continue
        if values is None:
            return
        if values and len(values) != len(names):
            yield number, None, f"the row has {len(values)} columns, the header {len(names)}"
        elif values:
            yield number, dict(zip(names, values, strict=True)), None


def _txt(file: BinaryIO, _: Keep) -> Iterator[Read]:
    for number, line in enumerate(text_lines(file), 1):
        if text := line.strip():
            yield number, {"prompt": text}, None


def _parquet(file: BinaryIO, keep: Keep) -> Iterator[Read]:
    table, number = pq.ParquetFile(file), 0
    for batch in table.iter_batches(1000, columns=[name for name in table.schema_arrow.names if keep(name)]):
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"a text of the rows {number + 1} to {number + len(batch)} is not UTF-8: {error}"
            ) from None
        for fields in rows:
            number += 1
            yield number, {name: plain_value(value) for name, value in fields.items()}, None


def _csv_header(file: BinaryIO) -> list[str]:
    return csv_text(file, ["prompt"]).names


def _parquet_header(file: BinaryIO) -> list[str]:
    names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names


READERS: dict[str, Callable[[BinaryIO, Keep], Iterator[Read]]] = {
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _txt,
}
HEADERS: dict[str, Callable[[BinaryIO], list[str]]] = {
    ".parquet": _parquet_header,
    ".csv": _csv_header,
    ".tsv": _csv_header,
}


def _fault(name: str, value: Any) -> str | None:
    """The reason for which a value cannot be written as JSON in UTF-8, or None."""
    try:
        json.dumps({name: value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return f"{name!a} is not text in UTF-8"
    except (TypeError, ValueError):
        return f"{name}={value!s:.60} is neither a text nor a number, but of the type {type(value).__name__}"
    return None
