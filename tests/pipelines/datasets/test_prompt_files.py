import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3fs.core import S3File

from longtake.pipelines.datasets.prompt_files import PromptFile, Read, find_files, read_file
from longtake.pipelines.files.store import Store
from tests.support.places import REPORTS


def _rows(path: Path, data: bytes) -> list[Read]:
    path.write_bytes(data)
    (file,) = find_files(str(path))
    return [read for read, _ in read_file(file, lambda name: name != "extra")]


def _all(file: PromptFile) -> list[Read]:
    return [read for read, _ in read_file(file, lambda _: True)]


def _parquet(columns: dict[str, list[object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def _names(prompts: str) -> list[str]:
    return [file.name for file in find_files(prompts)]


FILES = {
    "a.jsonl": b'{"prompt": "one", "seed": 1}\n',
    "b.ndjson": b'{"prompt": "one", "seed": 1}\n',
    "c.csv": b"prompt,seed\none,1\n",
    "d.txt": b"one\n",
    "e.parquet": _parquet({"prompt": ["one"], "seed": [1]}),
    "f.jsonl.gz": gzip.compress(b'{"prompt": "one", "seed": 1}\n'),
    "g.csv.gz": gzip.compress(b"prompt,seed\none,1\n"),
    "h.TXT.gz": gzip.compress(b"one\n"),
}


def test_every_kind_of_file_is_read_from_any_place(store):
    for name, data in FILES.items():
        store.put(f"prompts/{name}", data)
    files = find_files(f"{store}/prompts")
    assert [file.name for file in files] == list(FILES)
    rows = {file.name: _all(file) for file in files}
    for name, kind in ((file.name, file.kind) for file in files):
        seed = {} if kind == ".txt" else {"seed": "1" if kind == ".csv" else 1}
        first = 2 if kind == ".csv" else 1
        assert rows[name] == [(first, {"prompt": "one", **seed}, None)]


def test_files_are_named_by_folder_glob_or_alone_and_names_do_not_depend_on_other_files(store):
    for path in ("set/b.txt", "set/a/x.txt", "set/a/y.csv", "set/c.md"):
        store.put(path, b"prompt\n")
    assert _names(f"{store}/set/*.txt") == ["b.txt"]
    assert _names(f"{store}/set/**/*.txt") == ["a/x.txt", "b.txt"]
    assert _names(f"{store}/set/?/x.txt") == ["a/x.txt"]
    assert _names(f"{store}/set/a") == _names(f"{store}/set/a/") == ["x.txt", "y.csv"]
    assert _names(f"{store}/set/a/x.txt") == ["x.txt"]


def test_what_other_programs_leave_in_a_folder_is_passed_over(store):
    for path in ("a.txt", "_SUCCESS", ".cache/b.txt"):
        store.put(path, b"prompt\n")
    assert _names(str(store)) == ["a.txt"]


def test_a_hidden_file_that_is_named_is_read(tmp_path):
    (tmp_path / "_a.txt").write_text("one")
    assert _names(f"{tmp_path}/_a.txt") == ["_a.txt"]


def test_a_name_with_brackets_is_no_glob_when_there_is_such_a_file(tmp_path):
    (tmp_path / "set[1].txt").write_text("one")
    (tmp_path / "set1.txt").write_text("one")
    assert _names(f"{tmp_path}/set[1].txt") == ["set[1].txt"]


@pytest.mark.parametrize(
    ("files", "prompts", "reason"),
    [
        ({}, "none.txt", "no such file, or an empty folder"),
        ({}, "*.txt", "no such file, or an empty folder"),
        (
            {"a.txt": b"one", "b.json": b"{}"},
            "",
            r"b.json is not a prompt file \(.parquet, .jsonl, .ndjson, .csv, .tsv, .txt;",
        ),
        ({"a.parquet.gz": b""}, "", "a.parquet.gz is not a prompt file .*; all but parquet also .gz"),
        ({"a.txt": b"one", "a.csv": b"prompt"}, "", "a.csv and a.txt would give their rows the same ids; rename one"),
        ({"a.csv": b"Prompt,seed\n"}, "", "a.csv has no column prompt; its columns are: Prompt, seed"),
        ({"a.csv": b""}, "a.csv", "a.csv cannot be read: it is empty"),
        (
            {"a.csv": b"prompt,id,id\n"},
            "",
            "a.csv cannot be read: it has two columns named id; its columns are: prompt, id, id",
        ),
        (
            {"a.csv": b"prompt\xe9\n"},
            "",
            r"a.csv cannot be read: line 1 is not text in UTF-8 \(byte 0xe9\); save it as",
        ),
        ({"a.csv": b"prompt," + b"x" * 1_100_000}, "", "a.csv cannot be read: .* field larger than"),
        ({"a.csv.gz": gzip.compress(b"prompt")[:-9]}, "", "a.csv.gz cannot be read: "),
        ({"a.csv.gz": b"prompt"}, "", "a.csv.gz cannot be read: Not a gzipped file"),
        ({"a.parquet": b"no parquet"}, "", "a.parquet cannot be read: .*Parquet"),
        ({"a.parquet": _parquet({"text": ["one"]})}, "", "a.parquet has no column prompt; its columns are: text"),
    ],
)
def test_a_bad_file_is_refused_before_the_first_row(store, files, prompts, reason):
    for name, data in files.items():
        store.put(name, data)
    path = f"{store}/{prompts}"
    with pytest.raises(ValueError, match=rf"^prompts={path.replace('*', '[*]')}: {reason}"):
        find_files(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nonsense://x", "Protocol not known"),
        ("gs://x/y.txt", "install gcsfs"),
        ("s3://none/y.txt", "bucket does not exist"),
    ],
)
def test_a_place_that_cannot_be_read_is_an_error_that_says_why(s3_url, path, reason):
    with pytest.raises(ValueError, match=rf"^prompts={path}: .*{reason}"):
        find_files(path)


@pytest.mark.parametrize(("name", "stem"), [("a.jsonl", "a"), ("a.b/c.d.csv.gz", "a.b-c.d")])
def test_the_stem_of_a_file_begins_the_ids_of_its_rows(name, stem):
    assert PromptFile("", name).stem == stem


def test_a_bad_line_of_jsonl_is_a_reason_and_the_next_line_is_read(tmp_path):
    lines = [
        b'\xef\xbb\xbf{"prompt": "first", "extra": [1]}\r',
        b"",
        b'{"prompt": ',
        b'["prompt"]',
        b"[" * 100_000,
        b'{"prompt": "half \\ud800"}',
        '{"prompt": "雨", "seed": NaN, "refiner.sizes": [1, 2]}'.encode(),
    ]
    rows = _rows(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [number for number, _, _ in rows] == [1, 3, 4, 5, 6, 7]
    assert rows[0] == (1, {"prompt": "first"}, None)
    reasons = [
        "the line is not JSON: Exp",
        "the line is not a JSON object",
        "the line is not JSON",
    ]
    for (_, fields, reason), begins in zip(rows[1:4], reasons, strict=True):
        assert fields is None and reason is not None and reason.startswith(begins)
    assert rows[4] == (6, {}, "'prompt' is not text in UTF-8")
    assert rows[5][1] is not None and rows[5][1]["prompt"] == "雨" and rows[5][1]["refiner.sizes"] == [1, 2]


def test_a_bad_row_of_csv_is_a_reason_and_the_next_row_is_read(tmp_path):
    lines = [
        b"\xef\xbb\xbfprompt,seed,extra",
        b'"two',
        b'lines",1,x',
        b"",
        b"too,few",
        b"too,many,of,them",
        b'"a"b,1,x',
        b"other columns may hold anything,2,\0",
        b'"open,3,x',
    ]
    rows = _rows(tmp_path / "a.csv", b"\r\n".join(lines))
    assert rows == [
        (2, {"prompt": "two\r\nlines", "seed": "1"}, None),
        (5, None, "the row has 2 columns, the header 3"),
        (6, None, "the row has 4 columns, the header 3: a cell with a comma needs quotes"),
        (7, None, "the row is not valid CSV: ',' expected after '\"'"),
        (8, {"prompt": "other columns may hold anything", "seed": "2"}, None),
        (9, None, "the row is not valid CSV: unexpected end of data"),
    ]


def test_a_field_of_csv_without_end_does_not_fill_the_memory(tmp_path):
    rows = _rows(tmp_path / "a.csv", b'prompt\n"' + b"a\n" * 600_000)
    reason = "the row is not valid CSV: field larger than field limit (1048576); lines up to 524290 are lost with it"
    assert rows[0] == (2, None, reason)


def test_each_line_of_txt_is_a_prompt(tmp_path):
    rows = _rows(tmp_path / "a.txt", "\ufeff one \r\n\r\n  \n雨, {x}\nlast".encode())
    assert rows == [(1, {"prompt": "one"}, None), (4, {"prompt": "雨, {x}"}, None), (5, {"prompt": "last"}, None)]


def test_columns_of_parquet_keep_their_names_and_missing_values(tmp_path):
    columns = {
        "prompt": ["a", None, "c"],
        "seed": [1, None, 3],
        "refiner.strength": [0.5, None, 1.0],
        "extra": [1, 2, 3],
    }
    assert _rows(tmp_path / "a.parquet", _parquet(columns)) == [
        (1, {"prompt": "a", "seed": 1, "refiner.strength": 0.5}, None),
        (2, {"prompt": None, "seed": None, "refiner.strength": None}, None),
        (3, {"prompt": "c", "seed": 3, "refiner.strength": 1.0}, None),
    ]


def test_a_column_of_parquet_of_another_type_is_a_reason_in_each_row(tmp_path):
    rows = _rows(tmp_path / "a.parquet", _parquet({"prompt": [b"\xff", None], "id": ["x", "y"]}))
    assert rows == [
        (1, {"id": "x"}, "prompt=b'\\xff' is neither text nor a number, but of type bytes"),
        (2, {"prompt": None, "id": "y"}, None),
    ]


@pytest.mark.parametrize("keep", [60, 300])
def test_a_packed_file_that_is_cut_off_gives_its_rows_and_a_reason(tmp_path, keep):
    lines = b"".join(json.dumps({"prompt": f"{n * n:x}"}).encode() + b"\n" for n in range(200))
    rows = _rows(tmp_path / "a.jsonl.gz", gzip.compress(lines)[:keep])
    assert all(row == (n + 1, {"prompt": f"{n * n:x}"}, None) for n, row in enumerate(rows[:-1]))
    number, fields, reason = rows[-1]
    assert (number, fields) == (len(rows), None) and str(reason).startswith("the rest of the file cannot be unpacked: ")


LINES = {
    "txt": "one\ntwo, 雨\nthree",
    "jsonl": '{"prompt": "one"}\n{"prompt": "two, 雨"}\n{"prompt": "three"}',
    "csv": 'prompt\none\n"two, 雨"\nthree',
}
PROMPTS = ["one", "two, 雨", "three"]


def _prompts(rows: list[Read]) -> list[object]:
    assert all(reason is None for _, _, reason in rows)
    return [fields["prompt"] for _, fields, _ in rows if fields is not None]


@pytest.mark.report("C8")
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_byte_order_mark_names_the_encoding(tmp_path, kind, encoding):
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"  # the codec writes it
    data = (mark + LINES[kind]).encode(encoding)
    assert _prompts(_rows(tmp_path / f"a.{kind}", data)) == PROMPTS
    assert _prompts(_rows(tmp_path / f"b.{kind}.gz", gzip.compress(data))) == PROMPTS


@pytest.mark.report("C8")
@pytest.mark.parametrize("name", ["ps_utf16.txt", "ps_utf16.jsonl"])
def test_lists_that_powershell_wrote_are_read(name):
    (file,) = find_files(str(REPORTS / "prompts" / name))
    assert [str(prompt)[:7] for prompt in _prompts(_all(file))] == [
        "a large",
        "a small",
        "a small",
    ]


@pytest.mark.report("C8")
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("latin-1", r"line 3 is not text in UTF-8 \(byte 0xe9\); save it as UTF-8, or"),
        ("utf-16-le", "line 1 looks like UTF-16 or UTF-32 without a byte order mark; save it as"),
        ("utf-16-be", "line 1 looks like UTF-16 or UTF-32 without a byte order mark; save it as"),
        ("utf-32-le", "line 1 looks like UTF-16 or UTF-32 without a byte order mark; save it as"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path, kind, encoding, reason):
    text = {
        "txt": "a\nb\ncaf\xe9\n",
        "jsonl": '{"prompt": "a"}\n\n{"prompt": "caf\xe9"}\n',
        "csv": "prompt\na\ncaf\xe9\n",
    }
    with pytest.raises(ValueError, match=rf"a.{kind}( cannot be read)?: {reason}"):
        _rows(tmp_path / f"a.{kind}", text[kind].encode(encoding))


@pytest.mark.report("C8")
def test_half_a_character_at_the_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^a.txt: line 2 is not text in UTF-16-LE \(byte 0x62\)"):
        _rows(tmp_path / "a.txt", "a\nb".encode("utf-16")[:-1])


@pytest.mark.report("C8")
def test_marks_of_files_that_were_concatenated_are_dropped(tmp_path):
    one = LINES["txt"].encode("utf-8-sig") + b"\n"
    assert _prompts(_rows(tmp_path / "a.txt", one + one)) == PROMPTS * 2
    wide = LINES["jsonl"].encode("utf-16") + "\n".encode("utf-16-le")
    assert _prompts(_rows(tmp_path / "a.jsonl", wide + wide)) == PROMPTS * 2
    assert _prompts(_rows(tmp_path / "a.csv", b"prompt\none\n" + '\ufeff"two, 雨"\nthree\n'.encode())) == PROMPTS


@pytest.mark.report("C9")
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_with_any_of_three_ends(tmp_path, kind, end):
    text = f"{LINES[kind]}\n\n".replace("\n", end)
    rows = _rows(tmp_path / f"a.{kind}", text.encode())
    assert _prompts(rows) == PROMPTS and [number for number, _, _ in rows] == (
        [2, 3, 4] if kind == "csv" else [1, 2, 3]
    )


@pytest.mark.report("C9")
def test_lines_of_an_old_mac_are_three_prompts():
    (file,) = find_files(str(REPORTS / "prompts" / "mac_cr.txt"))
    assert len(_prompts(_all(file))) == 3


@pytest.mark.report("C9", "C14")
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_nothing_else_ends_a_line(tmp_path, kind, letter):
    prompt = f"a{letter}b"
    text = {"txt": prompt, "jsonl": json.dumps({"prompt": prompt}, ensure_ascii=False), "csv": f"prompt\n{prompt}"}
    if kind == "jsonl" and letter < " ":
        text[kind] = json.dumps({"prompt": prompt})  # JSON forbids them as they are
    assert _prompts(_rows(tmp_path / f"a.{kind}", text[kind].encode())) == [prompt]


@pytest.mark.report("C10")
def test_numbers_of_tables_are_numbers_and_dates_have_a_reason(tmp_path):
    columns = {
        "prompt": ["a", "b"],
        "seed": pa.array([Decimal("7.00"), None], pa.decimal128(8, 2)),
        "refiner.strength": pa.array([np.float16(0.5), None], pa.float16()),
        "num_frames": pa.array([8.0, float("nan")]),
    }
    rows = _rows(tmp_path / "a.parquet", _parquet(columns))
    assert rows[0] == (1, {"prompt": "a", "seed": 7, "refiner.strength": 0.5, "num_frames": 8.0}, None)
    assert [type(value) for value in rows[0][1].values()] == [str, int, float, float]
    dates = _parquet({"prompt": ["a"], "seed": [date(2026, 1, 2)]})
    reason = "seed=2026-01-02 is neither text nor a number, but of type date"
    assert _rows(tmp_path / "b.parquet", dates) == [(1, {"prompt": "a"}, reason)]


@pytest.mark.report("C8")
def test_a_text_of_parquet_that_is_no_text_is_refused_with_its_rows(tmp_path):
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xe9"))
    with pytest.raises(ValueError, match="^a.parquet: a value in rows 1 to 1 is not valid UTF-8"):
        _rows(tmp_path / "a.parquet", _parquet({"prompt": broken}))


@pytest.mark.report("C3", "C15")
def test_a_path_with_colons_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a::b.txt").write_text("one")
    assert _names("a::b.txt") == _names(f"{tmp_path}/a::b.txt") == ["a::b.txt"]


@pytest.mark.report("B7")
def test_a_store_that_does_not_answer_for_a_while_costs_no_row(s3_url, monkeypatch):
    from longtake.pipelines.files import patience

    lines = b"".join(json.dumps({"prompt": f"{n} {'x' * 300}"}).encode() + b"\n" for n in range(1_000))
    Store(s3_url).put("many.jsonl", lines)
    (file,) = find_files(f"{s3_url}/many.jsonl")
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)
    rows = (row for row, _ in read_file(file, lambda _: True))
    read = [next(rows)]
    away = iter([ConnectionError("away")] * 2)
    own = S3File.readinto

    def readinto(self, buffer):
        if error := next(away, None):
            own(self, bytearray(100))  # its place is another one now
            raise error
        return own(self, buffer)

    monkeypatch.setattr(S3File, "readinto", readinto)
    read += rows
    assert next(away, None) is None
    assert [number for number, _, _ in read] == list(range(1, 1_001))
    assert [fields["prompt"].split()[0] for _, fields, _ in read] == [str(n) for n in range(1_000)]
