"""Tables of videos, as people and their tools write them: .csv, .tsv, .jsonl (or .ndjson) and .parquet.

Text is read by `prompt_text.py`: encodings, line ends. NaN is a blank cell in every column. A row that cannot be read
is a reason, and the rows after it are read.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from longtake.pipelines.datasets.prompt_text import DELIMITERS, csv_text, json_of, plain_value, text_lines

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
NAMES = ("path", "file_name")  # columns of a file's place, the first that has a value
NUM_CHARS = 2**30  # in a cell of a .csv, whose reader allows 131,072 by default

TableRow = Mapping[str, Any] | str  # the cells that are not blank, by their column, or the reason for their absence


def read_table(name: str, data: bytes) -> Iterator[TableRow]:
    """The rows of a table, whose kind is the ending of `name`. Raises ValueError for a file that is no such table."""
    kind = PurePosixPath(name).suffix.lower()
    if kind == ".parquet":
        rows: Iterator[TableRow] = _parquet(data)
    elif kind in (".csv", ".tsv"):
        rows = _with_long_cells(_csv(io.BytesIO(data), "\t" if kind == ".tsv" else DELIMITERS))
    else:
        rows = _jsonl(io.BytesIO(data))
    return (row if isinstance(row, str) else {k: v for k, v in row.items() if not _blank(v)} for row in rows)


def whole_number(value: object) -> int | None:
    """The number of a cell; tables write 3 as 3.0 where another row has none. None for anything else."""
    try:
        number = float(str(value))
        # From 2**53 on a float stands for several whole numbers.
        return int(number) if number.is_integer() and abs(number) < 2**53 else int(str(value))
    except (ValueError, OverflowError):
        return None


def _parquet(data: bytes) -> Iterator[TableRow]:
    file = pq.ParquetFile(pa.BufferReader(data))
    _checked(file.schema_arrow.names)
    return iter([plain_value(row) for row in file.read().to_pylist()])


def _checked(names: list[str]) -> list[str]:
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise ValueError(f"it has two columns {twice}; its columns are: {', '.join(names)}")
    return names


def _with_long_cells(rows: Iterator[TableRow]) -> Iterator[TableRow]:
    before = csv.field_size_limit(NUM_CHARS)  # of the whole process
    try:
        return iter(list(rows))
    finally:
        csv.field_size_limit(before)


def _csv(file: BinaryIO, delimiters: str) -> Iterator[TableRow]:
    table = csv_text(file, NAMES, delimiters, strict=True)
    names = _checked(table.names)
    while True:
        try:
            values = next(table.rows, None)
        except csv.Error as error:
            yield f"line {table.num_lines + table.rows.line_num} and what belongs to it is not valid CSV: {error}"
            continue
        if values is None:
            return
        if len(values) > len(names):
            yield f"it has {len(values)} cells, the header {len(names)}: a cell with a comma needs quotes"
        elif values:
            yield dict(zip(names, values, strict=False))


def _jsonl(file: BinaryIO) -> Iterator[TableRow]:
    for line in text_lines(file):
        if not line.strip():
            continue
        try:
            fields = json_of(line)
        except ValueError as error:
            yield str(error)
            continue
        yield fields if isinstance(fields, dict) else 'the line is not a JSON object such as {"path": "a.mp4"}'


def _blank(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
