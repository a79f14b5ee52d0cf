"""Keys, values and tables in the form that MLflow's stores accept."""

import csv
import io
import re
from collections.abc import Mapping, Sequence


def legal_key(key: str) -> str:
    """`key` in MLflow's alphabet: one other character makes it refuse the whole batch."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:240]


def plain_text(value: object) -> str:
    """`value` without NUL and unpaired surrogates: no store can hold them, so each try would fail again."""
    return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))


def csv_table(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as CSV, with the columns of all of them; missing values are empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows({key: None if value is None else plain_text(value) for key, value in row.items()} for row in rows)
    return file.getvalue().encode()


def first_line(error: Exception) -> str:
    """The first line of an error's message, without passwords, at most 400 characters."""
    return masked(next(iter(str(error).splitlines()), "") or type(error).__name__)[:400]


def masked(text: str) -> str:
    """`text` without the passwords in its URIs."""
    return re.sub(r"//[^/@\s]*@", "//", text)
