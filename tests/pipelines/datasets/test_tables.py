"""Tables and texts as spreadsheets and other tools write them, for prompts and for videos alike."""

import codecs
import csv
import io
import math
from decimal import Decimal
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtake.pipelines.datasets.prompt_rows import RowDefaults, read_rows, to_request
from longtake.pipelines.datasets.tables import is_blank, read_table, whole
from longtake.pipelines.datasets.video_list import NAMES, list_videos


def videos(name, data):
    """The cells of each row that are not blank, or its reason."""
    rows = read_table(io.BytesIO(data), PurePosixPath(name).suffix, NAMES).rows
    return [
        reason if fields is None else {name: value for name, value in fields.items() if not is_blank(value)}
        for _, fields, reason in rows
    ]


def _requests(path, data):
    """Line, prompt and seed of each row, or line and reason."""
    path.write_bytes(data)
    found = []
    for row in read_rows(str(path)):
        line = int(row.source.rpartition(":")[2])
        try:
            spec = to_request(row, RowDefaults(16, "", 0), lambda _: None)
            found.append((line, spec.prompt, spec.seed))
        except ValueError as error:
            found.append((line, str(error)))
    return found


@pytest.mark.report("C10")
@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("excel.csv", "prompt;seed\r\na, b;1\r\nc;2\r\n", "utf-8-sig"),
        ("excel.csv", "prompt\tseed\r\na, b\t1\r\nc\t2\r\n", "utf-16"),
        ("copied.tsv", "prompt\tseed\na, b\t1\nc\t2", "utf-8"),
        ("by_hand.csv", 'prompt , seed\n"a, b",1\nc,2\n', "utf-8"),
        ("by_hand.csv", '"prompt";"a;b";seed\n"a, b";"x";1\nc;"y;z";2\n', "utf-8"),
    ],
)
def test_cells_are_separated_by_what_the_header_has(tmp_path, name, text, encoding):
    assert _requests(tmp_path / name, text.encode(encoding)) == [(2, "a, b", 1), (3, "c", 2)]


@pytest.mark.report("C10")
def test_lines_are_counted_from_the_first_one_of_the_file(tmp_path):
    rows = _requests(tmp_path / "a.csv", b'\n \n"note\nin two lines",prompt,seed\n,a,1\n,b,x\n')
    assert rows == [(5, "a", 1), (6, "seed='x': must be a whole number")]
    for kind, data in ((".csv", b""), (".tsv", b"\n\n"), (".parquet", b"")):
        with pytest.raises(ValueError, match="it is empty"):
            read_table(io.BytesIO(data), kind, NAMES)


@pytest.mark.report("C10", "C15")
def test_a_table_of_videos_is_separated_in_the_same_ways_and_names_each_column_once():
    assert videos("a.csv", b"path;prompt\nx.mp4;a, b\n") == [{"path": "x.mp4", "prompt": "a, b"}]
    assert videos("a.csv", b"\nfile_name\ttext \nx.mp4\tb\n") == [{"file_name": "x.mp4", "text": "b"}]
    with pytest.raises(ValueError, match="two columns named prompt"):
        videos("a.csv", b"path,prompt,prompt\nx.mp4,a,b\n")
    (row,) = videos("a.jsonl", b'{"path": "x.mp4", "path": "y.mp4"}\n')
    assert row == "the line is not JSON: 'path' appears twice"


@pytest.mark.report("C10")
def test_a_line_that_is_no_row_says_where_and_what_to_do(tmp_path):
    rows = _requests(
        tmp_path / "a.jsonl", b'[\n{"prompt": "a", "seed": 1},\n{"prompt": "b", "seed": 2, "seed": 3}\n]\n'
    )
    advice = "(a file that is one list or object cannot be read: write one object per line)"
    assert rows == [
        (1, f"the line is not JSON: Expecting value, at character 3 {advice}"),
        (2, "the line is not JSON: Extra data, at character 27"),
        (3, "the line is not JSON: 'seed' appears twice"),
        (4, "the line is not JSON: Expecting value, at character 1"),
    ]


@pytest.mark.report("C10")
def test_a_list_that_python_wrote_is_no_prompt(tmp_path):
    cues = [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "b"}]
    (row,) = _requests(tmp_path / "a.csv", f'prompt\n"{cues}"\n'.encode())
    assert row[0] == 2 and row[1].endswith("a list must be JSON, with double quotes")
    (row,) = _requests(tmp_path / "b.csv", b"prompt,seed\n[{sic}] a red circle,1\n")
    assert row == (2, "[{sic}] a red circle", 1)


@pytest.mark.report("C10")
def test_texts_as_bytes_and_decimals_in_lists_are_texts_and_numbers(tmp_path):
    cues = [{"from_frame": Decimal(0), "prompt": "a"}, {"from_frame": Decimal(8), "prompt": "b"}]
    for prompts in (["naïve".encode(), b"\xff"], [cues, None]):
        pq.write_table(pa.table({"prompt": prompts, "seed": [1, 2]}), tmp_path / "a.parquet")
        first, second = _requests(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes())
        assert first in ((1, "naïve", 1), (1, "a", 1)) and len(second) == 2


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
    rows = videos(f"list.{kind}", encoded(end.join([*lines, ""]), encoding))
    if kind == "jsonl":  # raw control characters are no JSON
        rows = videos("list.jsonl", encoded(end.join(lines).replace("\x0b", "").replace("\x0c", "")
                    .replace("\x1c", "").replace("\x1d", "").replace("\x1e", ""), encoding))  # fmt: skip
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
    first, second = videos(f"list.{kind}", sink.getvalue())
    assert first == {"path": "a.mp4", "prompt": "a ring"}
    assert second["path"] == "b.mp4" and "prompt" not in second and whole(second, "seed") == 3


@pytest.mark.parametrize("value, number", [("7", 7), (7, 7), ("3.0", 3), (2.0**53 - 1, 2**53 - 1), (str(2**60), 2**60)])
def test_whole_numbers(value, number):
    assert whole({"seed": value}, "seed") == number


@pytest.mark.parametrize("value", [2.0**53, "1.5", "x", "inf", "1e400", [1], True])
def test_no_whole_numbers(value):
    with pytest.raises(ValueError, match="^seed="):
        whole({"seed": value}, "seed")


def test_a_caption_with_a_comma_is_not_cut_and_a_long_one_is_read():
    rows = videos("a.csv", b'path,prompt\na.mp4,a ring, blue\nb.mp4,"' + b"x" * 200_000 + b'"\n')
    assert rows[0] == "the row has 3 columns, the header 2: a cell with a comma needs quotes"
    assert len(rows[1]["prompt"]) == 200_000


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="UTF-8"):
        videos("a.csv", "path\nca\xf1on.mp4\n".encode("latin-1"))


@pytest.mark.report("C10")
def test_a_quote_that_is_not_closed_is_a_row_with_a_reason_for_prompts_and_videos():
    reason = "the row is not valid CSV: unexpected end of data; lines up to 4 are lost with it"
    assert videos("a.csv", b'path,prompt\na.mp4,"x\nb.mp4,y\nc.mp4,z\n') == [reason]
    assert videos("a.csv", b"path,prompt\na.mp4\nb.mp4,y\n") == [
        "the row has 1 column, the header 2",
        {"path": "b.mp4", "prompt": "y"},
    ]


@pytest.mark.report("C10")
def test_a_long_cell_is_read_whatever_limit_another_reader_has_set(tmp_path):
    csv.field_size_limit(100)
    assert _requests(tmp_path / "a.csv", b"prompt,seed\n" + b"x" * 200_000 + b",1\n") == [(2, "x" * 200_000, 1)]
    assert _requests(tmp_path / "b.csv", b'prompt,"no"te\na,b\n')[0][:2] == (2, "a")


@pytest.mark.report("C10", "C15")
def test_a_parquet_of_videos_has_texts_and_each_column_once(tmp_path):
    def table(columns, names):
        pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names), tmp_path / "a.parquet")
        return (tmp_path / "a.parquet").read_bytes()

    (row,) = videos("a.parquet", table([[b"a.mp4"], [Decimal(3)]], ["path", "seed"]))
    assert row == {"path": "a.mp4", "seed": 3}
    with pytest.raises(ValueError, match="^it has two columns named prompt; its columns are: path, prompt, prompt$"):
        videos("a.parquet", table([["a"], ["b"], ["c"]], ["path", "prompt", "prompt"]))


@pytest.mark.report("C10", "B1")
def test_a_row_without_a_file_is_the_same_wherever_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "t.jsonl").write_text('{"prompt": "x"}\n{"path": "a.mp4", "prompt": ["x", "y"]}\n{"path": "a.mp4"}\n')
    rows = list_videos(str(tmp_path / "t.jsonl"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").touch()  # the folder changes
    assert list(rows) == list(list_videos("t.jsonl"))
    assert {row.path: row.reason for row in rows if row.reason} == {
        "t.jsonl, row 1": "it has no path and no file_name; its columns are prompt",
        "a.mp4": "prompt=['x', 'y'] is not text",
    }


HEADERS = [
    'prompt,"note\nin two lines",seed',
    'prompt;"note\n;in two lines";seed',
    'prompt\t"a\n\nb"\tseed',
    'prompt,"a ""quoted""\r\nname",seed',
    'prompt,size 5",seed',
    'prompt,"say\n""a""",seed',
]


@pytest.mark.report("C9", "C10")
@pytest.mark.parametrize("header", HEADERS)
def test_a_name_of_a_column_may_have_line_breaks_and_quotes_wherever_it_stands(tmp_path, header):
    delimiter = next(one for one in ";\t," if one in header)
    lines = header.count("\n") + 2
    text = f"{header}\n{delimiter.join(('a ring', 'x', '7'))}\n"
    assert _requests(tmp_path / "a.csv", text.encode()) == [(lines, "a ring", 7)]
    (row,) = videos("a.csv", text.replace("prompt", "path", 1).encode())
    assert (row["path"], row["seed"]) == ("a ring", "7")


@pytest.mark.report("C10")
@pytest.mark.parametrize("lines", [3, 100_000])
def test_a_quote_of_a_header_that_is_not_closed_is_a_short_error(tmp_path, lines):
    (tmp_path / "a.csv").write_text('"prompt,seed\n' + "a red circle,1\n" * lines)
    with pytest.raises(ValueError, match=r"a\.csv.* (not valid CSV: .*limit|has no column prompt; its .*)") as raised:
        list(read_rows(str(tmp_path / "a.csv")))
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


@pytest.mark.report("C10")
@pytest.mark.parametrize("head", ["sep=;\r\n", '"sep=;"\r\n\r\n', "\ufeffsep=;\r\n"])
def test_the_line_by_which_spreadsheets_tell_their_separator_is_no_header(tmp_path, head):
    text = f"{head}prompt;seed\r\na, b;1\r\n"
    assert _requests(tmp_path / "a.csv", text.encode()) == [(text.count("\n"), "a, b", 1)]


@pytest.mark.report("C10")
def test_reasons_are_about_the_file_and_not_about_python(tmp_path):
    deep, long = '{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"prompt": "a", "seed": ' + "9" * 5000 + "}"
    rows = _requests(tmp_path / "a.jsonl", f'{deep}\n{long}\n{{"prompt": "b", "seed": 1}}\n'.encode())
    assert rows == [
        (1, "the line is not JSON: its lists and objects are nested too deeply"),
        (2, "the line is not JSON: a number in it has too many digits"),
        (3, "b", 1),
    ]


@pytest.mark.report("C10")
@pytest.mark.parametrize("text", ["NULL", "\\N", "NaN", "NA", "None", "<NA>", "#N/A", " null "])
@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_a_cell_that_databases_and_pandas_write_for_a_missing_value_is_blank(kind, text):
    mark = "," if kind == ".csv" else "\t"
    file = io.BytesIO(f"id{mark}prompt\n{text}{mark}a null ring\n7{mark}{text}\n".encode())
    rows = [fields for _, fields, _ in read_table(file, kind, ["prompt"]).rows]
    assert rows == [{"id": None, "prompt": "a null ring"}, {"id": "7", "prompt": None}]
