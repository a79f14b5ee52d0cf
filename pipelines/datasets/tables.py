"""Tables and lists as people and their tools write them: .parquet, .jsonl (or .ndjson), .csv, .tsv and .txt.

Prompts and lists of videos are read here, by the same rules. A row that cannot be read becomes a reason, and the rows
after it are still read. Blank lines, and blanks around the column names of a .csv, are ignored. NaN and blank text
count as absent; so does what tools write for a missing value in a .csv or .tsv, such as NULL.
"""

import csv
import json
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq

from longtake.models.domain.checks import exact
from longtake.pipelines.files.text_lines import text_lines

TABLES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv")
KINDS = (*TABLES, ".txt")

# Where a comma is the decimal point, spreadsheets write .csv with semicolons; copied tables have tabs.
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
NUM_CHARS = 2**20  # at most, in a cell of a .csv: an unclosed quote must not fill the memory

# Of the columns of a file at most so many are named, whatever it holds.
NUM_NAMES, NAME_CHARS, MORE = 30, 60, "..."

# How tables in text formats spell a missing value: pandas, R, spreadsheets and databases (\N).
ABSENT = frozenset(("nan", "nat", "none", "null", "na", "n/a", "#n/a", "<na>", "\\n"))

# Line or row, from 1; its fields, None if it cannot be read; the reason why it cannot be read, or None.
Read = tuple[int, dict[str, Any] | None, str | None]
Keep = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` are those of the header; `rows` are read as they are taken."""

    columns: Sequence[str]
    rows: Iterator[Read]


def read_table(file: BinaryIO, kind: str, wanted: Sequence[str], keep: Keep = lambda _: True) -> Table:
    """The table of a file with the ending `kind`; of a parquet file, only the columns that `keep` selects.

    Its header has one of the `wanted` columns; each line of a .txt is the first of them. Raises ValueError, here or
    while rows are taken, for a file that is not such a table or cannot be read to its end.
    """
    if kind == ".parquet":
        return _parquet(file, keep)
    if kind in DELIMITERS:
        return _csv(file, wanted, DELIMITERS[kind])
    return Table(wanted, _jsonl(file, wanted[0]) if kind in (".jsonl", ".ndjson") else _txt(file, wanted[0]))


def is_blank(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # NaN differs from itself


def whole(fields: Mapping[str, Any], name: str) -> int | None:
    """A whole number in any form that tables have: "80", "80.0", 80.0. None if it is absent."""
    value = exact(fields.get(name))
    if isinstance(value, str):
        text = value.strip()
        if not text or text.lower() in ABSENT:
            return None
        if re.fullmatch(r"[+-]?\d{1,19}(\.0*)?", text):
            digits, point, _ = text.partition(".")
            value = exact(float(text)) if point else int(digits)
    if isinstance(value, float) and value.is_integer():
        rule = "as a float it must be less than 2**53, because larger ones are rounded; write it as an integer"
        raise ValueError(f"{name}={reprlib.repr(fields[name])}: {rule}")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{name}={reprlib.repr(fields[name])}: must be a whole number")
    return value


def _csv(file: BinaryIO, wanted: Sequence[str], delimiters: str) -> Table:
    csv.field_size_limit(NUM_CHARS)  # for the whole process, so set before each file
    lines = text_lines(file, keep_ends=True)
    # Spreadsheets begin a .csv with `sep=;` to tell each other what separates its cells.
    is_above = re.compile(r'\s*|"?sep=.?"?\s*')
    num_blank, first = next(((n, line) for n, line in enumerate(lines) if not is_above.fullmatch(line)), (0, ""))
    if not first:
        raise ValueError("it is empty")
    head, headers, faults = [first], {}, []  # the header may have more lines than its first
    for delimiter in delimiters:
        try:
            reader = csv.reader(_again(head, lines), delimiter=delimiter)
            headers[delimiter] = [name.strip() for name in next(reader)], reader.line_num
        except csv.Error as error:
            faults.append(str(error))
    if not headers:
        raise ValueError(f"its header is not valid CSV: {faults[0]}")
    found = next((one for one, (header, _) in headers.items() if set(header) & set(wanted)), next(iter(headers)))
    names, num_lines = headers[found]
    rows = csv.reader(chain(head[num_lines:], lines), delimiter=found, strict=True)
    return Table(_unique(names), _csv_rows(rows, names, num_blank + num_lines))


def _again(head: list[str], lines: Iterator[str]) -> Iterator[str]:
    """The lines that were read so far, then others, which are added to them."""
    yield from head
    for line in lines:
        head.append(line)
        yield line


def _csv_rows(rows: Any, names: Sequence[str], num_above: int) -> Iterator[Read]:
    while True:
        number = num_above + rows.line_num + 1
        try:
            values = next(rows, None)
        except csv.Error as error:
            last = num_above + rows.line_num
            lost = f"; lines up to {last} are lost with it" if last > number else ""
            yield number, None, f"the row is not valid CSV: {error}{lost}"
            continue
        if values is None:
            return
        if values and len(values) != len(names):
            hint = ": a cell with a comma needs quotes" if len(values) > len(names) else ""
            columns = "1 column" if len(values) == 1 else f"{len(values)} columns"
            yield number, None, f"the row has {columns}, the header {len(names)}{hint}"
        elif values:
            cells = (None if value.strip().lower() in ABSENT else value for value in values)
            yield number, dict(zip(names, cells, strict=True)), None


def _jsonl(file: BinaryIO, example: str) -> Iterator[Read]:
    for number, line in enumerate(text_lines(file), 1):
        if line.strip():
            try:
                fields = _json(line)
            except ValueError as error:
                yield number, None, f"the line is not JSON: {error}"
                continue
            if isinstance(fields, dict):
                yield number, fields, None
            else:
                yield number, None, f'the line is not a JSON object such as {{"{example}": "..."}}'


def _json(line: str) -> Any:
    """Raises ValueError with the reason, also for a name that appears twice."""
    try:
        return json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        advice = "a file that is one list or object cannot be read: write one object per line"
        whole_file = f" ({advice})" if line.strip() in "[{" else ""
        raise ValueError(f"{error.msg}, at character {error.pos + 1}{whole_file}") from None
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None
    except ValueError as error:
        raise ValueError("a number in it has too many digits" if "digits" in str(error) else error) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice")
    return fields


def _txt(file: BinaryIO, name: str) -> Iterator[Read]:
    for number, line in enumerate(text_lines(file), 1):
        if text := line.strip():
            yield number, {name: text}, None


def _parquet(file: BinaryIO, keep: Keep) -> Table:
    if not file.read(1):
        raise ValueError("it is empty")
    table = pq.ParquetFile(file)
    names = _unique(table.schema_arrow.names)
    return Table(names, _parquet_rows(table, [name for name in names if keep(name)]))


def _parquet_rows(table: pq.ParquetFile, columns: Sequence[str]) -> Iterator[Read]:
    number = 0
    for batch in table.iter_batches(1000, columns=columns):
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError as error:
            place = f"rows {number + 1} to {number + len(batch)}"
            raise ValueError(f"a value in {place} is not valid UTF-8: {error}") from None
        for fields in rows:
            number += 1
            yield number, {name: _plain(value) for name, value in fields.items()}, None


def _unique(names: Sequence[str]) -> Sequence[str]:
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise ValueError(f"it has two columns named {shown_names([twice])[0]}; its columns are: {listed(names)}")
    return names


def shown_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns as a line and a table can hold them, and at most NUM_NAMES."""
    shown = [
        name if name.strip() and name.isprintable() and len(name) <= NAME_CHARS else ascii(name[:NAME_CHARS])
        for name in names[:NUM_NAMES]
    ]
    return (*shown, *([MORE] if len(names) > NUM_NAMES else []))


def listed(names: Sequence[str]) -> str:
    """Names of columns in an error."""
    return ", ".join(shown_names(names)) or "none"


def _plain(value: Any) -> Any:
    """A value of a table as plain Python: decimals and half floats too, and text that a tool wrote as bytes."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.item() if isinstance(value, np.generic) else value
