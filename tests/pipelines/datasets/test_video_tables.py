import codecs
import io
import math

import pandas as pd
import pytest

from longtake.pipelines.datasets.video_tables import read_table, whole_number

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


def encoded(text, encoding):
    if encoding == "utf-16-be":
        return codecs.BOM_UTF16_BE + text.encode(encoding)
    return text.encode(encoding)


@pytest.mark.report("C14", "C8")
@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "tsv"])
def test_text_is_whole_in_any_encoding_and_with_any_line_ends(kind, end, encoding):
    caption = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei 中"
    lines = {
        "csv": ["path,prompt", f'a.mp4,"{caption}"', 'b.mp4,"two\nlines, quoted"'],
        "tsv": ["path\tprompt", f"a.mp4\t{caption}", 'b.mp4\t"two\nlines, quoted"'],
        "jsonl": [
            f'{{"path": "a.mp4", "prompt": "{caption}"}}',
            "",
            '{"path": "b.mp4", "prompt": "two\\nlines, quoted"}',
        ],
    }[kind]
    rows = list(read_table(f"list.{kind}", encoded(end.join([*lines, ""]), encoding)))
    if kind == "jsonl":  # raw control characters are no JSON
        rows = list(read_table("list.jsonl", encoded(end.join(lines).replace("\x0b", "").replace("\x0c", "")
                    .replace("\x1c", "").replace("\x1d", "").replace("\x1e", ""), encoding)))  # fmt: skip
        caption = "a\u2028b\u2029c\x85defghi 中"
    assert rows == [{"path": "a.mp4", "prompt": caption}, {"path": "b.mp4", "prompt": "two\nlines, quoted"}]


@pytest.mark.report("C10")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_nan_is_a_blank_cell_and_whole_floats_are_numbers(kind):
    table = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "prompt": ["a ring", math.nan], "seed": [math.nan, 3.0]})
    sink = io.BytesIO()
    if kind == "parquet":
        table.to_parquet(sink)
    elif kind == "csv":
        table.to_csv(sink, index=False)
    else:
        sink.write(b'{"path": "a.mp4", "prompt": "a ring", "seed": NaN}\n{"path": "b.mp4", "prompt": NaN, "seed": 3.0}')
    first, second = read_table(f"list.{kind}", sink.getvalue())
    assert first == {"path": "a.mp4", "prompt": "a ring"}
    assert second["path"] == "b.mp4" and "prompt" not in second and whole_number(second["seed"]) == 3


@pytest.mark.parametrize("value, number", [("7", 7), (7, 7), ("3.0", 3), (2.0**53 - 1, 2**53 - 1), (str(2**60), 2**60)])
def test_whole_numbers(value, number):
    assert whole_number(value) == number


@pytest.mark.parametrize("value", [2.0**53, "1.5", "x", "inf", "nan", "1e400", None, [1]])
def test_anything_else_is_none(value):
    assert whole_number(value) is None


def test_a_caption_with_a_comma_is_not_cut_and_a_long_one_is_read():
    rows = list(read_table("a.csv", b'path,prompt\na.mp4,a ring, blue\nb.mp4,"' + b"x" * 200_000 + b'"\n'))
    assert rows[0] == "it has 3 cells, the header 2: a cell with a comma needs quotes"
    assert len(rows[1]["prompt"]) == 200_000


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="UTF-8"):
        list(read_table("a.csv", "path\nca\xf1on.mp4\n".encode("latin-1")))
