import csv
import json
import re
import tracemalloc
from hashlib import blake2b, sha256
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtake.models.domain.prompt import Cue, PromptSpec, Settings
from longtake.pipelines.datasets.names import safe_name
from longtake.pipelines.datasets.prompt_files import PromptFile, read_file
from longtake.pipelines.datasets.prompt_rows import PromptRow, RowDefaults, digest_id, own_id, read_rows, to_request
from tests.support.places import REPORTS

DEFAULTS = RowDefaults(num_frames=48, negative_prompt="blurry", seed=7)


def _refuse_unknown(settings: Settings) -> None:
    for key, value in settings:
        if not key.startswith(("refiner.", "base.")):
            raise ValueError(f"{key}={value} is not a setting")


def _request(source: str = "prompts.jsonl:12", **fields: Any) -> PromptSpec:
    return to_request(PromptRow(source, {"prompt": "a red circle", **fields}, None), DEFAULTS, _refuse_unknown)


def test_a_prompt_alone_gets_the_defaults_and_an_id_that_follows_from_it():
    spec = _request()
    said = json.dumps(["a red circle", [], None, None, None, []]).encode()
    id = f"prompts-{sha256(said).hexdigest()[:12]}"
    seed = int.from_bytes(blake2b(f"7/{id}".encode()).digest()[:8], "big") % 2**63
    assert spec == PromptSpec(id, "a red circle", "blurry", 48, seed)


@pytest.mark.report("B1", "C11")
def test_an_id_follows_from_what_the_row_says_and_from_nothing_else():
    ids = {_request(f"prompts.jsonl:{line}").video_id for line in (1, 2, 999_999)}
    ids |= {_request(caption="x", seed=None).video_id, _request("prompts.jsonl.gz:1").video_id}
    other = RowDefaults(num_frames=8, negative_prompt="", seed=1)  # the job's own settings
    ids |= {to_request(PromptRow("prompts.csv:1", {"prompt": "a red circle"}, None), other, _refuse_unknown).video_id}
    assert len(ids) == 1 and safe_name(*ids) == _request().video_id
    says = [{}, {"prompt": "a"}, {"seed": 0}, {"num_frames": 48}, {"negative_prompt": "x"}, {"refiner.strength": 0.5}]
    assert len({_request(**fields).video_id for fields in says}) == len(says)
    assert _request(num_frames="8", seed=1.0).video_id == _request(seed="1", num_frames=8.0).video_id


@pytest.mark.parametrize(
    ("source", "begins"), [("a/b.csv.gz:3", "a-b-"), ("雨.v2.txt:1234567", "雨.v2-"), ("a:b.txt:1", "a:b-")]
)
def test_an_id_begins_with_the_name_of_its_file(source, begins):
    assert re.fullmatch(f"{begins}[0-9a-f]{{12}}", _request(source).video_id)


@pytest.mark.report("B14")
def test_an_invalid_row_has_its_own_id_or_one_that_follows_from_what_it_says():
    assert own_id(PromptRow("a.txt:1", {"id": 7.0, "num_frames": 0}, None)) == "7"
    assert own_id(PromptRow("a.txt:1", {"id": float("nan")}, None)) is None
    assert digest_id(PromptRow("a.txt:1", {"num_frames": 0}, None)) == digest_id(
        PromptRow("a.txt:9", {"num_frames": 0}, None)
    )
    assert digest_id(PromptRow("a.txt:3", None, "the line is not JSON")) == "a.txt:3"


def test_a_seed_comes_from_the_jobs_seed_and_the_id_alone():
    row = PromptRow("a.txt:1", {"prompt": "x", "id": "take"}, None)
    seeds = [
        to_request(PromptRow(source, {**row.fields, **more}, None), RowDefaults(48, "", seed), _refuse_unknown).seed
        for source, more, seed in (
            ("a.txt:1", {}, 7),
            ("b.txt:9", {"prompt": "y"}, 7),
            ("a.txt:1", {}, 8),
            ("a.txt:1", {"id": "other"}, 7),
        )
    ]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("value", "number"), [(80, 80), (80.0, 80), ("80", 80), (" 80 ", 80), ("80.0", 80), ("+80.", 80)]
)
def test_a_whole_number_may_be_written_as_a_table_holds_it(value, number):
    assert _request(num_frames=value).num_frames == number
    assert _request(seed=value).seed == number


@pytest.mark.report("C10")
@pytest.mark.parametrize("value", [2.0**53 - 1, "9007199254740991.0", 2**53 - 1, "9007199254740991"])
def test_a_whole_float_is_taken_while_it_is_exact(value):
    assert _request(seed=value).seed == 2**53 - 1
    assert _request(seed=2**53).seed == 2**53 and _request(seed="9007199254740993").seed == 2**53 + 1


@pytest.mark.report("C10")
@pytest.mark.parametrize("text", ["nan", "NaN", " NaT ", "None", "null", "<NA>"])
def test_a_number_may_be_absent_in_the_words_of_tables(text):
    assert _request(num_frames=text, seed=text) == _request()


@pytest.mark.report("C10")
def test_rows_of_an_exported_table_are_as_they_were_meant():
    rows = list(read_rows(str(REPORTS / "prompts" / "nan.jsonl")))
    specs = [to_request(row, DEFAULTS, _refuse_unknown) for row in rows]
    assert [spec.num_frames for spec in specs] == [8, 48, 8] and specs[1].seed == 7
    assert [spec.negative_prompt for spec in specs] == ["blurry"] * 3
    assert [spec.video_id for spec in specs[:2]] == ["n1", "n2"] and specs[2].video_id.startswith("nan-")


def test_a_large_seed_keeps_all_its_digits():
    assert _request(seed=2**63 - 1).seed == _request(seed=f"{2**63 - 1}").seed == 2**63 - 1


@pytest.mark.report("C10")
@pytest.mark.parametrize("blank", [None, "", "  ", float("nan")])
def test_a_blank_value_counts_as_absent(blank):
    names = ("id", "negative_prompt", "num_frames", "seed", "refiner.strength")
    assert _request(**dict.fromkeys(names, blank)) == _request()


def test_all_columns_are_used():
    row = {
        "id": "Take 雨",
        "negative_prompt": "dark",
        "num_frames": 16,
        "seed": 0,
        "refiner.strength": 0.5,
        "caption": [1],
    }
    expected = PromptSpec("Take 雨", "a red circle", "dark", 16, 0, (("refiner.strength", 0.5),))
    assert _request(**row) == expected


ROUNDED = "as a float it must be less than 2**53, because larger ones are rounded; write it as an integer"
ENTRIES = [{"from_frame": 0, "prompt": "a red circle"}, {"from_frame": 24, "prompt": "a blue ring, 雨"}]


@pytest.mark.parametrize("prompt", [ENTRIES, json.dumps(ENTRIES), "\n " + json.dumps(ENTRIES, indent=1)])
def test_a_prompt_may_be_a_list_also_as_json_in_a_text(prompt):
    plain = _request(id="x")
    expected = (plain.video_id, plain.prompt, plain.negative_prompt, 48, plain.seed, (), (Cue(24, "a blue ring, 雨"),))
    assert _request(id="x", prompt=prompt) == PromptSpec(*expected)


@pytest.mark.report("C10")
def test_blank_entries_and_fields_of_a_list_are_absent():
    nan = float("nan")
    gaps = [
        {**ENTRIES[0], "note": None},
        None,
        {"from_frame": nan, "prompt": None},
        {**ENTRIES[1], "from_frame": 24.0},
        "",
    ]
    assert _request(prompt=gaps) == _request(prompt=json.dumps(gaps[::3])) == _request(prompt=ENTRIES)


@pytest.mark.parametrize("text", ["[]", "[a red circle]", '["a", "b"]', "[1, 2]", '[{"a": 1}, 2]', "[" * 100_000])
def test_other_texts_in_brackets_are_prompts(text):
    assert _request(prompt=text).prompt == text and _request(prompt=text).cues == ()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "parquet"])
def test_every_kind_of_file_can_hold_prompts_that_change(tmp_path, kind):
    path = tmp_path / f"prompts.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"prompt": [ENTRIES]}), path)
    elif kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["prompt"], [json.dumps(ENTRIES)]])
    else:
        path.write_text(json.dumps({"prompt": ENTRIES} if kind == "jsonl" else ENTRIES) + "\n")
    (((number, fields, reason), _),) = read_file(PromptFile(str(path), path.name), lambda name: True)
    row = PromptRow(f"{path.name}:{number}", json.loads(json.dumps(fields)), reason)
    spec = to_request(row, DEFAULTS, _refuse_unknown)
    assert (spec.prompt, spec.cues) == ("a red circle", (Cue(24, "a blue ring, 雨"),))


@pytest.mark.parametrize(("id", "video_id"), [(12, "12"), (12.0, "12"), ("12.0", "12.0"), (-1, "-1")])
def test_an_id_may_be_a_number(id, video_id):
    assert _request(id=id).video_id == video_id


@pytest.mark.parametrize(
    ("value", "plain"),
    [(0.5, 0.5), (30.0, 30), ("1e-3", 1e-3), (True, True), ([1, 2], (1, 2)), (1e300, 1e300)],
)
def test_a_column_with_a_dot_is_a_setting_of_this_video(value, plain):
    ((key, setting),) = _request(**{"refiner.strength": value}).settings
    assert (key, setting, type(setting)) == ("refiner.strength", plain, type(plain))


@pytest.mark.parametrize(
    ("key", "text", "plain"),
    [
        ("refiner.num_inference_steps", "8", 8),
        ("refiner.strength", "1", 1.0),
        ("refiner.coupling", "causal", "causal"),
        ("base.sampler", "123", "123"),
        ("base.cam", "false", False),
        ("base.anchor_guidance_scale", "null", None),
        ("base.no_such_key", "8", "8"),
    ],
)
def test_a_text_in_a_column_is_read_once_as_the_type_of_its_key(key, text, plain):
    ((_, setting),) = _request(**{key: text}).settings
    assert (setting, type(setting)) == (plain, type(plain))


def test_a_text_that_is_no_value_of_its_key_is_a_bad_row():
    with pytest.raises(ValueError, match="^refiner.strength=strong must be a finite number$"):
        _request(**{"refiner.strength": "strong"})


def test_a_setting_that_is_not_allowed_is_a_bad_row():
    with pytest.raises(ValueError, match="^camera.zoom=2 is not a setting$"):
        _request(**{"camera.zoom": 2})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": None}, "prompt='': must not be empty or blank"),
        ({"prompt": 5}, "prompt=5: must be a string, or a list of {from_frame, prompt}"),
        ({"prompt": []}, "prompt=[]: must be a string, or a list of {from_frame, prompt}"),
        ({"prompt": [None, {"from_frame": None}]}, "prompt=[]: must be a string, or a list of {from_frame, prompt}"),
        ({"prompt": '[{"text": "a"}]'}, "prompt[0].text='a': no such field; the fields are from_frame and prompt"),
        (
            {"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 8, "prompt": "b\0"}]},
            r"prompt[1].prompt='b\x00': must have no NUL character",
        ),
        (
            {"prompt": [{"from_frame": 0, "prompt": "a"}, {"from_frame": 48, "prompt": "b"}]},
            "prompt[1].from_frame=48: the video ends before it, at 48",
        ),
        ({"prompt": "a\0b"}, r"prompt='a\x00b': must have no NUL character"),
        ({"negative_prompt": ["dark"]}, "negative_prompt=['dark']: must be a string"),
        ({"num_frames": "80.5"}, "num_frames='80.5': must be a whole number"),
        ({"num_frames": 80.5}, "num_frames=80.5: must be a whole number"),
        ({"num_frames": True}, "num_frames=True: must be a whole number"),
        ({"num_frames": float("inf")}, "num_frames=inf: must be a whole number"),
        ({"num_frames": "9" * 5000}, "num_frames='999999999999...9999999999999': must be a whole number"),
        ({"num_frames": 0}, "num_frames=0: a video has at least 1 frame"),
        ({"seed": "many"}, "seed='many': must be a whole number"),
        ({"seed": "-1"}, "seed=-1: must be at least 0 and less than 2**63"),
        ({"seed": 2.0**60}, f"seed=1.152921504606847e+18: {ROUNDED}"),
        ({"seed": 2.0**53}, f"seed=9007199254740992.0: {ROUNDED}"),
        ({"seed": "9007199254740992.0"}, f"seed='9007199254740992.0': {ROUNDED}"),
        ({"num_frames": False}, "num_frames=False: must be a whole number"),
        ({"id": 2.0**53}, "id=9007199254740992.0: must be a string or a whole number"),
        ({"prompt": True}, "prompt=True: must be a string, or a list of {from_frame, prompt}"),
        ({"id": True}, "id=True: must be a string or a whole number"),
        ({"id": 1.5}, "id=1.5: must be a string or a whole number"),
        ({"id": "a\nb"}, r"id='a\nb': must have no line break, NUL or other control character"),
        ({"id": "a\0"}, r"id='a\x00': must have no line break, NUL or other control character"),
    ],
)
def test_a_bad_value_is_a_reason_with_field_value_and_rule(fields, reason):
    with pytest.raises(ValueError) as caught:
        _request(**fields)
    assert str(caught.value) == reason


def test_a_row_that_could_not_be_read_keeps_its_reason():
    with pytest.raises(ValueError, match="^the line is not JSON$"):
        to_request(PromptRow("a.jsonl:1", None, "the line is not JSON"), DEFAULTS, _refuse_unknown)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("negative_promt", "negative_prompt"),
        ("negative prompt", "negative_prompt"),
        ("neg_prompt", "negative_prompt"),
        ("frames", "num_frames"),
        ("numFrames", "num_frames"),
        ("nframes", "num_frames"),
        ("Seed", "seed"),
        ("ID", "id"),
    ],
)
def test_a_misspelt_column_makes_a_bad_row_with_a_suggestion(name, meant):
    with pytest.raises(ValueError, match=f"^{name}=3: no such column; did you mean {meant}\\?$"):
        _request(**{name: 3})
    assert _request(**{name: 3, meant: "5"}) == _request(**{meant: "5"}), "with the column itself it is another one"


@pytest.mark.parametrize("name", ["Prompt", "promt", "prompts"])
def test_a_misspelt_prompt_column_has_a_suggestion_too(name):
    with pytest.raises(ValueError, match=f"^{name}='x': no such column; did you mean prompt\\?$"):
        to_request(PromptRow("a.jsonl:1", {name: "x"}, None), DEFAULTS, _refuse_unknown)


@pytest.mark.parametrize(
    "name",
    [
        "prompt_en",
        "prompt_id",
        "prompt2",
        "caption",
        "text",
        "speed",
        "idx",
        "uid",
        "fps",
        "frame_rate",
        "雨",
        "",
    ],
)
def test_other_columns_are_ignored(name):
    assert _request(**{name: "x"}) == _request()


UNUSED = {"random_seed": 5, "guidance_scale": 7.5, "Seed": 3, "": 1, "a\tb": "x"}


@pytest.mark.report("C10")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_columns_that_are_not_used_are_named(tmp_path, kind):
    path, fields = tmp_path / f"p.{kind}", {**UNUSED, "prompt": "a red circle", "seed": 1, "base.guidance_scale": 2.0}
    if kind == "parquet":
        pq.write_table(pa.table({name: [value] for name, value in fields.items()}), path)
    elif kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([fields, fields.values()])
    else:
        path.write_text(json.dumps(fields) + "\n" + json.dumps({"prompt": "b", "seeds": 2, "nframes": 3}) + "\n")
    first, *others = read_rows(str(path))
    assert first.unused == ("random_seed", "guidance_scale", "''", r"'a\tb'", "Seed") and first.reason is None
    for row in others:
        assert row.unused == ("seeds",), "what looks like a mistake is an error"


@pytest.mark.report("B1", "C10")
@pytest.mark.parametrize("column", ["num_frames", "seed", "refiner.num_inference_steps", "id"])
def test_a_column_that_became_folders_is_a_column(tmp_path, column):
    table = pd.DataFrame({"prompt": ["a red circle", "a blue ring"], "lang": ["en", "de"], column: [24, 10]})
    table.to_parquet(tmp_path / "prompts", partition_cols=["lang", column])
    rows = list(read_rows(str(tmp_path / "prompts")))
    assert {(row.fields["prompt"], row.fields[column]) for row in rows} == {
        ("a red circle", "24"),
        ("a blue ring", "10"),
    }
    assert [row.unused for row in rows] == [("lang",)] * 2
    specs = [to_request(row, DEFAULTS, _refuse_unknown) for row in rows]
    said = {"num_frames": {spec.num_frames for spec in specs}, "seed": {spec.seed for spec in specs}}
    said |= {"id": {int(spec.video_id) for spec in specs}} if column == "id" else {}
    said |= {column: {value for spec in specs for _, value in spec.settings}} if "." in column else {}
    assert said[column] == {24, 10}


@pytest.mark.report("C10")
def test_a_prompt_may_be_the_name_of_a_folder_and_absent_values_are_absent(tmp_path):
    table = pd.DataFrame({"prompt": ["50 % red / blue"], "seed": [None], "num_frames": [8]})
    table.to_parquet(tmp_path / "p", partition_cols=["prompt", "seed"])
    (row,) = read_rows(str(tmp_path / "p"))
    assert row.fields == {"prompt": "50 % red / blue", "seed": None, "num_frames": 8}


@pytest.mark.report("C10")
def test_a_row_that_contradicts_its_folder_is_invalid_and_one_that_repeats_it_is_not(tmp_path):
    (tmp_path / "seed=3").mkdir()
    lines = [json.dumps({"prompt": "a", "seed": seed}) for seed in (3, "3", None, 4)]
    (tmp_path / "seed=3" / "p.jsonl").write_text("\n".join(lines))
    *good, bad = read_rows(str(tmp_path))
    assert [to_request(row, DEFAULTS, _refuse_unknown).seed for row in good] == [3, 3, 3]
    assert bad.reason == "seed=4: the row is in a folder named seed=3"


@pytest.mark.report("C10")
@pytest.mark.parametrize("given", ["num_frames=24", "num_frames=24/p.csv", "num_frames=24/*.csv"])
def test_folders_above_the_given_place_are_no_columns_and_said_to_be_unused(tmp_path, given):
    (tmp_path / "run=5" / "num_frames=24").mkdir(parents=True)
    (tmp_path / "run=5" / "num_frames=24" / "p.csv").write_text("prompt\na\n")
    (row,) = read_rows(str(tmp_path / "run=5" / given))
    assert row.fields == {"prompt": "a"} and row.unused == ("num_frames",)


def test_few_of_many_columns_are_named(tmp_path):
    names = [f"column {n} {'x' * 99}" for n in range(1000)]
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a", **dict.fromkeys(names, 1)}))
    (row,) = read_rows(str(tmp_path))
    assert len(row.unused) == 31 and row.unused[-1] == "..." and max(map(len, row.unused)) == 62


def test_a_place_without_prompts_is_an_error_before_any_row(tmp_path):
    with pytest.raises(ValueError, match=rf"^prompts={tmp_path}: no such file"):
        read_rows(str(tmp_path))


def test_rows_of_all_files_come_in_order(tmp_path):
    count = 1500
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.txt").write_text("".join(f"line {n}\n" for n in range(count)))
    objects = [{"prompt": f"object {n}", "seed": n, "caption": "x" * 500} for n in range(count)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects) + "bad\n")
    pq.write_table(pa.table({"prompt": [f"row {n}" for n in range(count)]}), tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("prompt,promt\nlast,x\n")
    rows = list(read_rows(str(tmp_path)))
    assert len(rows) == 3 * count + 2
    assert rows[:count] == [PromptRow(f"a/1.txt:{n + 1}", {"prompt": f"line {n}"}, None) for n in range(count)]
    assert rows[2 * count - 1] == PromptRow(
        f"b.jsonl:{count}", {"prompt": "object 1499", "seed": 1499}, None, ("caption",)
    )
    assert rows[2 * count].fields is None and str(rows[2 * count].reason).startswith("the line is not JSON")
    assert [row.fields for row in rows[2 * count + 1 : -1]] == [{"prompt": f"row {n}"} for n in range(count)]
    assert rows[-1] == PromptRow("d.csv:2", {"prompt": "last", "promt": "x"}, None, ("promt",))


def test_reading_takes_little_memory_whatever_the_size_of_the_files(tmp_path):
    (tmp_path / "a.txt").write_text(f"{'a long prompt ' * 20}\n" * 20_000)  # 6 MB
    pq.write_table(pa.table({"prompt": [f"{'a long prompt ' * 20}{n}" for n in range(5_000)]}), tmp_path / "b.parquet")
    tracemalloc.start()
    assert sum(1 for _ in read_rows(str(tmp_path))) == 25_000
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


@pytest.mark.report("C8")
def test_a_file_that_turns_out_unreadable_names_the_prompts(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\n\xff\n")
    rows = read_rows(str(tmp_path))
    with pytest.raises(ValueError, match=rf"^prompts={tmp_path}: a.txt: line 2 is not text in UTF-8"):
        list(rows)
