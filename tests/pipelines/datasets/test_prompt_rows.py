import csv
import json
import threading
import time
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtake.models.domain.prompt import Cue, PromptSpec, Settings
from longtake.pipelines.datasets.prompt_files import PromptFile, read_file
from longtake.pipelines.datasets.prompt_rows import BUFFER_BYTES, PromptRow, RowDefaults, read_rows, to_request

DEFAULTS = RowDefaults(num_frames=48, negative_prompt="blurry", seed=7)


def _refuse_unknown(settings: Settings) -> None:
    for key, value in settings:
        if not key.startswith(("refiner.", "base.")):
            raise ValueError(f"{key}={value} is not a setting")


def _request(source: str = "prompts.jsonl:12", **fields: Any) -> PromptSpec:
    return to_request(PromptRow(source, 0, {"prompt": "a red circle", **fields}, None), DEFAULTS, _refuse_unknown)


def test_a_prompt_alone_gets_the_defaults_and_is_named_after_its_line():
    spec = _request()
    seed = int.from_bytes(blake2b(b"7/prompts-000012").digest()[:8], "big") % 2**63
    assert spec == PromptSpec("prompts-000012", "a red circle", "blurry", 48, seed)


@pytest.mark.parametrize(
    ("source", "id"),
    [("a/b.csv.gz:3", "a-b-000003"), ("雨.v2.txt:1234567", "雨.v2-1234567"), ("a:b.txt:1", "a:b-000001")],
)
def test_an_id_comes_from_file_and_line_where_none_is_given(source, id):
    assert _request(source).video_id == id


def test_a_seed_comes_from_the_jobs_seed_and_the_id_alone():
    row = PromptRow("a.txt:1", 0, {"prompt": "x", "id": "take"}, None)
    seeds = [
        to_request(
            PromptRow(source, ordinal, {**row.fields, **more}, None), RowDefaults(48, "", seed), _refuse_unknown
        ).seed
        for source, ordinal, more, seed in (
            ("a.txt:1", 0, {}, 7),
            ("b.txt:9", 8, {"prompt": "y"}, 7),
            ("a.txt:1", 0, {}, 8),
            ("a.txt:1", 0, {"id": "other"}, 7),
        )
    ]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("value", "number"), [(80, 80), (80.0, 80), ("80", 80), (" 80 ", 80), ("80.0", 80), ("+80.", 80)]
)
def test_a_whole_number_may_be_written_as_a_table_holds_it(value, number):
    assert _request(num_frames=value).num_frames == number
    assert _request(seed=value).seed == number


def test_a_large_seed_keeps_all_its_digits():
    assert _request(seed=2**63 - 1).seed == _request(seed=f"{2**63 - 1}").seed == 2**63 - 1


@pytest.mark.parametrize("blank", [None, "", "  "])
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


ENTRIES = [{"from_frame": 0, "prompt": "a red circle"}, {"from_frame": 24, "prompt": "a blue ring, 雨"}]


@pytest.mark.parametrize("prompt", [ENTRIES, json.dumps(ENTRIES), "\n " + json.dumps(ENTRIES, indent=1)])
def test_a_prompt_may_be_a_list_also_as_json_in_a_text(prompt):
    plain = _request()
    expected = (plain.video_id, plain.prompt, plain.negative_prompt, 48, plain.seed, (), (Cue(24, "a blue ring, 雨"),))
    assert _request(prompt=prompt) == PromptSpec(*expected)


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
    ((number, fields, reason),) = read_file(PromptFile(str(path), path.name), lambda name: True)
    row = PromptRow(f"{path.name}:{number}", 0, json.loads(json.dumps(fields)), reason)
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
        ({"num_frames": float("nan")}, "num_frames=nan: must be a whole number"),
        ({"num_frames": "9" * 5000}, "num_frames='999999999999...9999999999999': must be a whole number"),
        ({"num_frames": 0}, "num_frames=0: a video has at least 1 frame"),
        ({"seed": "many"}, "seed='many': must be a whole number"),
        ({"seed": "-1"}, "seed=-1: must be at least 0 and less than 2**63"),
        ({"seed": 2.0**60}, "seed=1.152921504606847e+18: must be a whole number"),
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
        to_request(PromptRow("a.jsonl:1", 0, None, "the line is not JSON"), DEFAULTS, _refuse_unknown)


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
        to_request(PromptRow("a.jsonl:1", 0, {name: "x"}, None), DEFAULTS, _refuse_unknown)


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
        "video",
        "frame_rate",
        "雨",
        "",
    ],
)
def test_other_columns_are_ignored(name):
    assert _request(**{name: "x"}) == _request()


def test_a_place_without_prompts_is_an_error_before_any_row(tmp_path):
    with pytest.raises(ValueError, match=rf"^prompts={tmp_path}: no such file"):
        read_rows(str(tmp_path))


@pytest.fixture
def busy_cluster(ray_cluster):
    """A cluster whose actors hold every CPU."""

    @ray_cluster.remote
    class Busy:
        def ping(self) -> bool:
            return True

    free = int(ray_cluster.available_resources().get("CPU", 0))
    actor = Busy.options(num_cpus=free).remote()
    assert ray_cluster.get(actor.ping.remote())
    yield ray_cluster
    ray_cluster.kill(actor)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_rows_of_all_files_come_in_order_while_no_cpu_is_free(tmp_path, busy_cluster):
    count = 3000
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.txt").write_text("".join(f"line {n}\n" for n in range(count)))
    objects = [{"prompt": f"object {n}", "seed": n, "caption": "x" * 500} for n in range(count)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects) + "bad\n")
    pq.write_table(pa.table({"prompt": [f"row {n}" for n in range(count)]}), tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("prompt,promt\nlast,x\n")
    rows = list(read_rows(str(tmp_path)))
    assert [row.ordinal for row in rows] == list(range(3 * count + 2))
    assert rows[:count] == [PromptRow(f"a/1.txt:{n + 1}", n, {"prompt": f"line {n}"}, None) for n in range(count)]
    assert rows[2 * count - 1] == PromptRow(
        f"b.jsonl:{count}", 2 * count - 1, {"prompt": "object 2999", "seed": 2999}, None
    )
    assert rows[2 * count].fields is None and str(rows[2 * count].reason).startswith("the line is not JSON")
    assert [row.fields for row in rows[2 * count + 1 : -1]] == [{"prompt": f"row {n}"} for n in range(count)]
    assert rows[-1] == PromptRow("d.csv:2", 3 * count + 1, {"prompt": "last", "promt": "x"}, None)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_reading_waits_for_the_consumer_of_rows_and_ends_with_it(tmp_path, busy_cluster):
    for n in range(20):
        (tmp_path / f"{n}.txt").write_text(f"{'a long prompt ' * 20}\n" * 20_000)  # 112 MB in all
    before = _held_bytes(busy_cluster)
    rows = read_rows(str(tmp_path))
    assert next(rows).source == "0.txt:1"
    held = [0, 1]
    while held[-1] > held[-2]:  # until nothing more is added
        time.sleep(3)
        held.append(_held_bytes(busy_cluster) - before)
    assert 1e6 < held[-1] < 2 * BUFFER_BYTES
    rows.close()
    deadline = time.monotonic() + 30
    while any("StreamingExecutor" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "reading goes on after its reader has left"
        time.sleep(0.1)


def _held_bytes(cluster: Any) -> float:
    return float(
        cluster.cluster_resources()["object_store_memory"] - cluster.available_resources()["object_store_memory"]
    )
