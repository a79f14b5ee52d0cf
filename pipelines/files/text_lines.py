"""Lines of text files as tables and editors write them, in whatever encoding a byte order mark names.

A line ends with \\n, \\r\\n or \\r, and with nothing else: U+2028, U+0085, \\v and \\f may be part of a prompt. Byte
order marks before a line are dropped, also where files were concatenated.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

# The longer ones first: UTF-32 begins like UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
UNKNOWN = re.compile("[\udc00-\udcff]")  # bytes that are invalid in the encoding: decoding gives no other surrogate
ADVICE = "save it as UTF-8, or as UTF-16 or UTF-32 with a byte order mark"


def text_lines(file: BinaryIO, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file with "\\n" at their ends, or with `keep_ends` the ends they have.

    Raises ValueError, naming the line and the encoding, for bytes that are not text.
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


def _encoding(file: BinaryIO) -> str:
    head = file.read(4)
    file.seek(0)
    return next((encoding for mark, encoding in MARKS if head.startswith(mark)), "utf-8")


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Handles bytes that cannot be decoded: the first becomes a lone surrogate, which shows on which line it was."""
    assert isinstance(error, UnicodeDecodeError)
    return chr(0xDC00 + error.object[error.start]), error.end


codecs.register_error("longtake-mark", _mark)
