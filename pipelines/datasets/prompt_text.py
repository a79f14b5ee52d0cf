"""Lines and cells of text files as tables and editors write them, in whatever encoding a byte order mark names.

A line ends with \\n, \\r\\n or \\r, and with nothing else: U+2028, U+0085, \\v and \\f may be part of a prompt. Byte
order marks before a line are dropped, also where files were concatenated.
"""

import codecs
import csv
import io
import json
import re
from _csv import Reader
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

import numpy as np

# The longer ones first: UTF-32 begins like UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
UNKNOWN = re.compile("[\udc00-\udcff]")  # bytes that are no text in the encoding: decoding gives no half characters
# Of the .csv that spreadsheets write where a comma is the decimal point, and of copied tables.
DELIMITERS = ",;\t"
ADVICE = "save it as UTF-8, or as UTF-16 or UTF-32 with a byte order mark"


def text_lines(file: BinaryIO, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file with "\\n" at their ends, or with `keep_ends` the ends they have.

    Raises ValueError naming line and encoding for bytes that are no text.
    """
    encoding = _encoding(file)
    text = io.TextIOWrapper(file, encoding, errors="longtake-mark", newline="" if keep_ends else None)
    for number, line in enumerate(text, 1):
        if not line.isascii():
            if found := UNKNOWN.search(line):
                byte = ord(found[0]) - 0xDC00
                raise ValueError(f"line {number} is not text in {encoding.upper()} (byte 0x{byte:02x}); {ADVICE}")
            line = line.lstrip("\ufeff")
        if line.count("\0") * 4 > len(line):
            raise ValueError(f"line {number} looks like UTF-16 or UTF-32 without a byte order mark; {ADVICE}")
        yield line


def json_of(line: str) -> Any:
    """What a line of a .jsonl holds. Raises ValueError with the reason, also for a name that stands there twice."""
    try:
        return json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        whole = (
            " (a file that is one list or object is not read: write one object a line)" if line.strip() in "[{" else ""
        )
        raise ValueError(f"the line is not JSON: {error.msg}, at character {error.pos + 1}{whole}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the line is not JSON: {error}") from None


def plain_value(value: Any) -> Any:
    """A value of a table as Python has it: decimals, half floats, and texts that a tool wrote as bytes too."""
    if isinstance(value, list):
        return [plain_value(entry) for entry in value]
    if isinstance(value, dict):
        return {name: plain_value(entry) for name, entry in value.items()}
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.item() if isinstance(value, np.generic) else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in it twice")
    return fields


@dataclass(frozen=True, slots=True)
class CsvText:
    """The header of a .csv (nothing in it: no columns), a reader of the rows below, and the lines above those."""

    names: list[str]
    rows: Reader
    num_lines: int


def csv_text(file: BinaryIO, columns: Collection[str], delimiters: str = DELIMITERS, strict: bool = False) -> CsvText:
    """Cells are separated by the first of `delimiters` with which the header has one of `columns`, else by the first.

    Blank lines above the header, and blanks around its names, mean nothing.
    """
    lines, head, num_lines = text_lines(file, keep_ends=True), "", 0
    for line in lines:
        num_lines += 1
        head = head + line if head.strip() else line
        if (head.strip() and head.count('"') % 2 == 0) or len(head) > csv.field_size_limit():
            break
    headers = [next(csv.reader(head.splitlines(True), delimiter=one), []) for one in delimiters]
    headers = [[name.strip() for name in header] for header in headers]
    found = next((i for i, header in enumerate(headers) if set(header) & set(columns)), 0)
    return CsvText(headers[found], csv.reader(lines, delimiter=delimiters[found], strict=strict), num_lines)


def _encoding(file: BinaryIO) -> str:
    head = file.read(4)
    file.seek(0)
    return next((encoding for mark, encoding in MARKS if head.startswith(mark)), "utf-8")


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Handles bytes that cannot be decoded: the first becomes a half character, by which its line is found."""
    assert isinstance(error, UnicodeDecodeError)
    return chr(0xDC00 + error.object[error.start]), error.end


codecs.register_error("longtake-mark", _mark)
