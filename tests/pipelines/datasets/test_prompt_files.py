import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtake.pipelines.datasets.prompt_files import PromptFile, Read, find_files, read_file


def _rows(path: Path, data: bytes) -> list[Read]:
    path.write_bytes(data)
    (file,) = find_files(str(path))
    return list(read_file(file, lambda name: name != "extra"))


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
    rows = {file.name: list(read_file(file, lambda _: True)) for file in files}
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
            r"b.json is not a prompt file \(.parquet, .jsonl, .ndjson, .csv, .txt;",
        ),
        ({"a.parquet.gz": b""}, "", "a.parquet.gz is not a prompt file .*; all but parquet also .gz"),
        ({"a.txt": b"one", "a.csv": b"prompt"}, "", "a.csv and a.txt would give their rows the same ids; rename one"),
        ({"a.csv": b"Prompt,seed\n"}, "", "a.csv has no column prompt; its columns are: Prompt, seed"),
        ({"a.csv": b""}, "a.csv", "a.csv has no column prompt; its columns are: none"),
        ({"a.csv": b"prompt,id,id\n"}, "", "a.csv has two columns with the same name; its columns are: prompt, id, id"),
        ({"a.csv": b"prompt\xe9\n"}, "", r"a.csv has no column prompt; its columns are: prompt\\xe9"),
        ({"a.csv": b"prompt," + b"x" * 140_000}, "", "a.csv cannot be read: field larger than"),
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
        b'{"prompt": "caf\xe9"}',
        b"[" * 100_000,
        b'{"prompt": "half \\ud800"}',
        '{"prompt": "雨", "seed": NaN, "refiner.sizes": [1, 2]}'.encode(),
    ]
    rows = _rows(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [number for number, _, _ in rows] == [1, 3, 4, 5, 6, 7, 8]
    assert rows[0] == (1, {"prompt": "first"}, None)
    reasons = [
        "the line is not JSON: Exp",
        "the line is not a JSON object",
        "the line is not JSON: 'utf-8'",
        "the line is not JSON",
    ]
    for (_, fields, reason), begins in zip(rows[1:5], reasons, strict=True):
        assert fields is None and reason is not None and reason.startswith(begins)
    assert rows[5] == (7, None, "'prompt' is not text in UTF-8")
    assert rows[6][1] is not None and rows[6][1]["prompt"] == "雨" and rows[6][1]["refiner.sizes"] == [1, 2]


def test_a_bad_row_of_csv_is_a_reason_and_the_next_row_is_read(tmp_path):
    lines = [
        b"\xef\xbb\xbfprompt,seed,extra",
        b'"two',
        b'lines",1,x',
        b"",
        b"too,few",
        b"too,many,of,them",
        b"caf\xe9,1,x",
        b'"a"b,1,x',
        b"other columns may hold anything,2,\xff",
        b'"open,3,x',
    ]
    rows = _rows(tmp_path / "a.csv", b"\r\n".join(lines))
    assert rows == [
        (2, {"prompt": "two\r\nlines", "seed": "1"}, None),
        (5, None, "the row has 2 columns, the header 3"),
        (6, None, "the row has 4 columns, the header 3"),
        (7, None, "'prompt' is not text in UTF-8"),
        (8, None, "the row is not valid CSV: ',' expected after '\"'"),
        (9, {"prompt": "other columns may hold anything", "seed": "2"}, None),
        (10, None, "the row is not valid CSV: unexpected end of data"),
    ]


def test_a_field_of_csv_without_end_does_not_fill_the_memory(tmp_path):
    rows = _rows(tmp_path / "a.csv", b'prompt\n"' + b"a\n" * 70_000)
    assert rows[0] == (2, None, "the row is not valid CSV: field larger than field limit (131072)")


def test_each_line_of_txt_is_a_prompt(tmp_path):
    rows = _rows(tmp_path / "a.txt", "\ufeff one \r\n\r\n  \n雨, {x}\n".encode() + b"\xff\nlast")
    assert rows[:2] == [(1, {"prompt": "one"}, None), (4, {"prompt": "雨, {x}"}, None)]
    assert rows[2][:2] == (5, None) and str(rows[2][2]).startswith("the line is not text in UTF-8: 'utf-8'")
    assert rows[3] == (6, {"prompt": "last"}, None)


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
    rows = _rows(tmp_path / "a.parquet", _parquet({"prompt": [b"a", None], "id": ["x", "y"]}))
    assert rows == [(1, None, "prompt=b'a' is neither a text nor a number"), (2, {"prompt": None, "id": "y"}, None)]


@pytest.mark.parametrize("keep", [60, 300])
def test_a_packed_file_that_is_cut_off_gives_its_rows_and_a_reason(tmp_path, keep):
    lines = b"".join(json.dumps({"prompt": f"{n * n:x}"}).encode() + b"\n" for n in range(200))
    rows = _rows(tmp_path / "a.jsonl.gz", gzip.compress(lines)[:keep])
    assert all(row == (n + 1, {"prompt": f"{n * n:x}"}, None) for n, row in enumerate(rows[:-1]))
    number, fields, reason = rows[-1]
    assert (number, fields) == (len(rows), None) and str(reason).startswith("the rest of the file cannot be unpacked: ")
