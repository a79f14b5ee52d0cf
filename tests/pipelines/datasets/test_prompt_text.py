"""Tables and texts as spreadsheets and other tools write them, for prompts and for videos alike."""

import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtake.pipelines.datasets.prompt_rows import RowDefaults, read_rows, to_request
from longtake.pipelines.datasets.prompt_text import csv_text
from longtake.pipelines.datasets.video_list import list_videos
from longtake.pipelines.datasets.video_tables import read_table


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
    assert csv_text(io.BytesIO(b""), ["prompt"]).names == csv_text(io.BytesIO(b"\n\n"), ["prompt"]).names == []


@pytest.mark.report("C10", "C15")
def test_a_table_of_videos_is_separated_in_the_same_ways_and_names_each_column_once():
    assert list(read_table("a.csv", b"path;prompt\nx.mp4;a, b\n")) == [{"path": "x.mp4", "prompt": "a, b"}]
    assert list(read_table("a.csv", b"\nfile_name\ttext \nx.mp4\tb\n")) == [{"file_name": "x.mp4", "text": "b"}]
    with pytest.raises(ValueError, match="two columns prompt"):
        list(read_table("a.csv", b"path,prompt,prompt\nx.mp4,a,b\n"))
    (row,) = read_table("a.jsonl", b'{"path": "x.mp4", "path": "y.mp4"}\n')
    assert row == "the line is not JSON: 'path' stands in it twice"


@pytest.mark.report("C10")
def test_a_line_that_is_no_row_says_where_and_what_to_do(tmp_path):
    rows = _requests(
        tmp_path / "a.jsonl", b'[\n{"prompt": "a", "seed": 1},\n{"prompt": "b", "seed": 2, "seed": 3}\n]\n'
    )
    advice = "(a file that is one list or object is not read: write one object a line)"
    assert rows == [
        (1, f"the line is not JSON: Expecting value, at character 3 {advice}"),
        (2, "the line is not JSON: Extra data, at character 27"),
        (3, "the line is not JSON: 'seed' stands in it twice"),
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


@pytest.mark.report("C10", "C15")
def test_a_quote_without_end_in_a_table_of_videos_is_said(tmp_path):
    first, second = read_table("a.tsv", b'path\tprompt\na.mp4\tx\nb.mp4\t"lead\nc.mp4\ty\n')
    assert first == {"path": "a.mp4", "prompt": "x"}
    assert second == "line 4 and what belongs to it is not valid CSV: unexpected end of data"


@pytest.mark.report("C10", "C15")
def test_a_parquet_of_videos_has_texts_and_each_column_once(tmp_path):
    def table(columns, names):
        pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names), tmp_path / "a.parquet")
        return (tmp_path / "a.parquet").read_bytes()

    (row,) = read_table("a.parquet", table([[b"a.mp4"], [Decimal(3)]], ["path", "seed"]))
    assert row == {"path": "a.mp4", "seed": 3}
    with pytest.raises(ValueError, match="^it has two columns prompt; its columns are: path, prompt, prompt$"):
        read_table("a.parquet", table([["a"], ["b"], ["c"]], ["path", "prompt", "prompt"]))


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
        "a.mp4": "prompt=['x', 'y'] is not a text",
    }
