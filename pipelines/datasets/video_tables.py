"""Tables of videos, as people and their tools write them: .csv, .tsv, .jsonl (or .ndjson) and .parquet.

Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Lines of .jsonl end at \\n, \\r\\n or \\r: other line ends of
Unicode (U+2028, U+0085, a vertical tab) may stand in a caption. NaN is a blank cell in every column. A row that
cannot be read is a reason, and the rows after it are read.
"""

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NUM_CHARS = 2**30  # in a cell of a .csv, whose reader allows 131,072 by default

TableRow = Mapping[str, Any] | str  # the cells that are not blank, by their column, or the reason for their absence


def read_table(name: str, data: bytes) -> Iterator[TableRow]:
    """The rows of a table, whose kind is the ending of `name`. Raises ValueError for a file that is no such table."""
    kind = PurePosixPath(name).suffix.lower()
    if kind == ".parquet":
        rows: Iterator[TableRow] = iter(pq.read_table(pa.BufferReader(data)).to_pylist())
    elif kind in (".csv", ".tsv"):
        rows = _csv(decode(data), "\t" if kind == ".tsv" else ",")
    else:
        rows = _jsonl(decode(data))
    return (row if isinstance(row, str) else {k: v for k, v in row.items() if not _blank(v)} for row in rows)


def decode(data: bytes) -> str:
    """The text of a file. Raises ValueError for bytes that are none."""
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8, or in UTF-16 with a byte order mark ({error})") from None


def whole_number(value: object) -> int | None:
    """The number of a cell; tables write 3 as 3.0 where another row has none. None for anything else."""
    try:
        number = float(str(value))
        # From 2**53 on a float stands for several whole numbers.
        return int(number) if number.is_integer() and abs(number) < 2**53 else int(str(value))
    except (ValueError, OverflowError):
        return None


def _csv(text: str, delimiter: str) -> Iterator[TableRow]:
    csv.field_size_limit(NUM_CHARS)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(rows, [])
    for values in rows:
        if len(values) > len(names):
            yield f"it has {len(values)} cells, the header {len(names)}: a cell with a comma needs quotes"
        elif values:
            yield dict(zip(names, values, strict=False))


def _jsonl(text: str) -> Iterator[TableRow]:
    for line in re.split(r"\r\n|\n|\r", text):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f"the line is not JSON: {error}"
            continue
        yield fields if isinstance(fields, dict) else 'the line is not a JSON object such as {"path": "a.mp4"}'


def _blank(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
