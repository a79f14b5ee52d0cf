"""The first reading of the prompts: what it refuses, and what it finds."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest

from longtake.pipelines.bulk.checked_rows import RowChecker
from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.command import run
from longtake.pipelines.bulk.folder import forget
from longtake.pipelines.bulk.paths import SETTINGS
from longtake.pipelines.bulk.records import tally_of
from longtake.pipelines.bulk.rows import Rows
from longtake.pipelines.bulk.settings import job_settings, load_bulk
from longtake.pipelines.bulk.survey import Survey
from longtake.pipelines.bulk.video import BulkVideo
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.config.provenance import hash_of
from longtake.pipelines.datasets.manifest import Manifest
from longtake.pipelines.datasets.video_list import list_videos
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import settled
from longtake.pipelines.terminal.exit_codes import Refused
from tests.support.places import REPORTS


def write(folder, rows):
    lines = ((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (folder / "p.jsonl").write_text("".join(lines))


def survey_of(folder, *overrides, prompts=None):
    """(survey, checker, manifest) of the prompts in a folder."""
    conf = load_bulk(
        overrides=[f"prompts={prompts or folder / 'p.jsonl'}", f"out={folder}/out", "num_frames=16", *overrides]
    )
    checker, manifest = RowChecker(conf, "ab" * 32), Manifest(Store(folder / "out"))
    return Survey(conf, checker, manifest), checker, manifest


def make_all(folder, *overrides, prompts=None):
    """Does what a job does, without making frames; returns the ids of the rows that it took."""
    survey, checker, manifest = survey_of(folder, *overrides, prompts=prompts)
    found = survey.read()
    forget(manifest, found)
    rows, ids = Rows(checker, survey, found), []
    rows.start()
    while not rows.exhausted:
        if (row := rows.next()) is not None:
            ids.append(row.id)
            record = row.row if isinstance(row, BulkVideo) else row
            if isinstance(row, BulkVideo):
                made = {"status": "done", "sha256": "00", "size_bytes": 1, "finished_at": datetime.now(UTC)}
                record = replace(record, **made, generate_s=0.0, refine_s=0.0, encode_s=0.0)
                manifest.store.put(record.path, record.prompt.encode())
            assert manifest.record(record)
    manifest.compact()
    return ids


def put_settings(conf):
    """What a job writes before its first row."""
    settings = job_settings(conf, hash_of(bundle_path(conf.bundle)))
    Store(conf.out).put(SETTINGS, json.dumps({"settings": settings}).encode())


def files(folder):
    return {path.read_text() for path in (folder / "out" / "videos").rglob("*.mp4")}


def prompts_of(folder):
    return sorted(row.prompt for row in Manifest(Store(folder / "out")).rows())


@pytest.mark.report("B1", "C11")
def test_a_line_that_is_inserted_is_made_and_the_others_stay(tmp_path):
    (tmp_path / "list.txt").write_text((REPORTS / "prompts" / "list_v1.txt").read_text())
    first = make_all(tmp_path, prompts=tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text((REPORTS / "prompts" / "list_v2.txt").read_text())
    (new,) = make_all(tmp_path, prompts=tmp_path / "list.txt")
    assert new not in first and make_all(tmp_path, prompts=tmp_path / "list.txt") == []
    assert prompts_of(tmp_path) == sorted((REPORTS / "prompts" / "list_v2.txt").read_text().splitlines())
    assert sorted(row.ordinal for row in Manifest(Store(tmp_path / "out")).rows()) == [0, 1, 2]


ROWS = [{"id": f"v{i}", "prompt": f"circle {i}", "seed": i} for i in range(4)]


@pytest.mark.report("B1", "C11")
@pytest.mark.parametrize("change", [{"prompt": "square"}, {"num_frames": 17}, {"seed": 7}, {"refiner.strength": 0.5}])
def test_a_row_that_changed_is_refused_by_its_id(tmp_path, change):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    write(tmp_path, [ROWS[0], {**ROWS[1], **change}, *ROWS[2:]])
    with pytest.raises(
        ValueError, match=r"1 finished video is no longer what the prompts ask for \(v1 from p.jsonl:2\)\. Use the"
    ):
        survey_of(tmp_path)[0].read()
    assert make_all(tmp_path, "changed=keep") == [] and "circle 1" in prompts_of(tmp_path)
    assert make_all(tmp_path, "changed=remake") == ["v1"] and len(prompts_of(tmp_path)) == 4
    assert make_all(tmp_path) == []


@pytest.mark.report("B1")
def test_a_finished_row_that_became_invalid_is_refused_with_its_reason(tmp_path):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    write(tmp_path, [ROWS[0], {**ROWS[1], "num_frames": -4}, *ROWS[2:]])
    with pytest.raises(ValueError, match=r"\(v1 from p.jsonl:2\); 1 invalid row: p.jsonl:2: num_frames=-4"):
        survey_of(tmp_path)[0].read()


MISTYPED = [
    {**ROWS[1], "num_frames": -4},
    {**ROWS[1], "prompt": "circle " * 60},  # found by the tokenizer
    {**ROWS[1], "id": "v0"},  # taken
    '{"id": "v1", "prompt": "circle 1}',
]


@pytest.mark.report("B1")
@pytest.mark.parametrize("edited", MISTYPED)
def test_remake_deletes_nothing_while_a_row_that_may_be_of_a_finished_video_is_invalid(tmp_path, edited):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    write(tmp_path, [ROWS[0], edited, {**ROWS[2], "seed": 9}, ROWS[3]])
    with pytest.raises(ValueError, match=r"v1 from p.jsonl:2.*deletes nothing while .*: \S+ from p.jsonl:2: .*Correct"):
        survey_of(tmp_path, "changed=remake")[0].read()
    assert len(files(tmp_path)) == 4
    write(tmp_path, [ROWS[0], {**ROWS[1], "seed": 8}, {**ROWS[2], "seed": 9}, ROWS[3]])
    assert make_all(tmp_path, "changed=remake") == ["v1", "v2"] and len(files(tmp_path)) == 4


@pytest.mark.report("B1")
def test_remake_deletes_nothing_while_a_row_without_an_id_is_mistyped(tmp_path):
    write(tmp_path, [{"prompt": "circle 1"}, {"prompt": "circle 2"}])
    make_all(tmp_path)
    write(tmp_path, [{"prompt": "circle 1"}, {"prompt": "circle 2", "num_frames": "4O"}])
    with pytest.raises(
        ValueError, match="deletes nothing while rows that may be theirs are invalid: p-.* from p.jsonl:2"
    ):
        survey_of(tmp_path, "changed=remake")[0].read()
    assert len(make_all(tmp_path, "changed=keep")) == 1 and len(files(tmp_path)) == 2
    assert make_all(tmp_path, "changed=remake") == [] and files(tmp_path) == {"circle 1"}, "it is known to be invalid"


@pytest.mark.report("B1")
def test_remake_passes_over_invalid_rows_of_other_ids(tmp_path):
    write(tmp_path, [*ROWS, {"id": "bad", "prompt": "x", "num_frames": 0}, "no JSON"])
    make_all(tmp_path)
    edited = [{"id": "bad", "prompt": "x", "num_frames": -1}, {"id": "worse", "prompt": "x", "num_frames": -1}]
    write(tmp_path, [*ROWS[:3], {**ROWS[3], "seed": 9}, edited[0], "no JSON", edited[1]])
    assert make_all(tmp_path, "changed=remake") == ["v3", "bad", "worse"]


@pytest.mark.report("B1", "C10")
def test_keep_keeps_a_finished_video_whose_row_became_invalid_and_counts_it(tmp_path):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    write(tmp_path, [ROWS[0], MISTYPED[0], *ROWS[2:]])
    survey, _, _ = survey_of(tmp_path, "changed=keep")
    tally = tally_of(survey.read(), survey.num_frames)
    assert (tally.total, tally.skipped, tally.outdated, survey.invalid.num) == (4, 4, 1, 1)
    assert make_all(tmp_path, "changed=keep") == [] and len(files(tmp_path)) == 4


@pytest.mark.report("B1", "C10")
def test_the_command_refuses_or_says_it_before_anything_is_deleted_or_started(tmp_path, caplog):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    write(tmp_path, [{**ROWS[0], "caption": "x"}, MISTYPED[0], *ROWS[2:]])
    overrides = [f"prompts={tmp_path / 'p.jsonl'}", f"out={tmp_path}/out", "num_frames=16"]
    put_settings(load_bulk(overrides=overrides))
    with pytest.raises(Refused, match="v1 from p.jsonl:2: num_frames=-4: a video has at least 1 frame"):
        run(check(load_bulk(overrides=[*overrides, "changed=remake"])))
    assert len(files(tmp_path)) == len(prompts_of(tmp_path)) == 4
    with caplog.at_level("INFO"):
        assert run(check(load_bulk(overrides=[*overrides, "changed=keep"]))).outdated == 1
    lines = [record.getMessage() for record in caplog.records]
    assert f"prompts={tmp_path / 'p.jsonl'}: columns not used: caption" in lines


@pytest.mark.report("B1")
@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", "{}", '{"settings": null}', '{"settings": [1]}', "\xff"])
def test_finished_rows_whose_settings_nothing_tells_are_refused(tmp_path, text):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    conf = load_bulk(overrides=[f"prompts={tmp_path / 'p.jsonl'}", f"out={tmp_path}/out", "num_frames=16"])
    if text is not None:
        Store(conf.out).put(SETTINGS, text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^out=.*/out.* job\.json.*: put that file back, or use another out$"):
        check(conf)
    put_settings(settled(conf))
    assert check(conf).conf == settled(conf)


@pytest.mark.report("B1")
def test_an_out_without_a_row_needs_no_settings(tmp_path):
    write(tmp_path, ROWS)
    (tmp_path / "out" / "manifest").mkdir(parents=True)
    (tmp_path / "out" / "manifest" / "notes.txt").touch()
    check(load_bulk(overrides=[f"prompts={tmp_path / 'p.jsonl'}", f"out={tmp_path}/out"]))


@pytest.mark.report("C10")
def test_columns_that_are_not_used_are_said_and_recorded(tmp_path):
    write(tmp_path, [{**ROWS[0], "random_seed": 7}, {**ROWS[1], "notes": "", "random_seed": 1}, *ROWS[2:]])
    survey, _, manifest = survey_of(tmp_path)
    survey.read()
    assert survey.unused == "random_seed, notes"
    make_all(tmp_path)
    rows = {row.id: row.unused_columns for row in manifest.rows()}
    assert rows == {"v0": "random_seed", "v1": "notes, random_seed", "v2": None, "v3": None}


@pytest.mark.report("C10")
def test_names_of_columns_that_are_not_used_take_little_memory(tmp_path):
    write(tmp_path, [{"prompt": "a", f"column {n}": 1} for n in range(100)])
    survey, _, _ = survey_of(tmp_path)
    survey.read()
    assert survey.unused == ", ".join([*(f"column {n}" for n in range(30)), "..."])


@pytest.mark.report("B1", "C11")
def test_rows_that_left_the_prompts_are_refused_or_leave_the_dataset(tmp_path):
    lines = [f"circle {i}" for i in range(14)]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    make_all(tmp_path, prompts=tmp_path / "p.txt")
    (tmp_path / "p.txt").write_text("\n".join(reversed([*lines[:2], "square"])))
    with pytest.raises(
        ValueError,
        match=r"12 finished videos are no longer in the prompts \((p-[0-9a-f]{12} from p.txt:\d+, ){10}\.\.\.\)",
    ):
        survey_of(tmp_path, prompts=tmp_path / "p.txt")[0].read()
    assert len(make_all(tmp_path, "changed=keep", prompts=tmp_path / "p.txt")) == 1 and len(prompts_of(tmp_path)) == 15
    assert make_all(tmp_path, "changed=remake", prompts=tmp_path / "p.txt") == []
    assert prompts_of(tmp_path) == ["circle 0", "circle 1", "square"] and files(tmp_path) == {*prompts_of(tmp_path)}


@pytest.mark.report("B1")
@pytest.mark.report("B1")
def test_a_video_whose_file_was_deleted_is_refused_made_again_or_kept(tmp_path):
    write(tmp_path, [{"id": id, "prompt": f"a ring {id}"} for id in "abc"])
    make_all(tmp_path)
    next(path for path in (tmp_path / "out" / "videos").rglob("*.mp4") if path.read_text() == "a ring b").unlink()
    with pytest.raises(ValueError, match=r"1 finished video is no longer in the folder.*\(b from p.jsonl:2\)"):
        survey_of(tmp_path)[0].read()
    survey, *_ = survey_of(tmp_path, "changed=keep")
    assert tally_of(survey.read(), survey.num_frames).outdated == 1
    assert make_all(tmp_path, "changed=remake") == ["b"]
    assert files(tmp_path) == {"a ring a", "a ring b", "a ring c"} and make_all(tmp_path) == []


def test_lines_may_be_sorted_and_the_file_may_move(tmp_path):
    (tmp_path / "p.txt").write_text("a\nb\nb\nc\n")
    make_all(tmp_path, prompts=tmp_path / "p.txt")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "p.txt").write_text("b\nc\nb\n\na\n")
    assert make_all(tmp_path, prompts=tmp_path / "elsewhere") == []


@pytest.mark.report("B14", "B2")
def test_a_failed_row_is_replaced_when_it_is_corrected(tmp_path):
    write(tmp_path, [*ROWS, {"id": "bad", "prompt": "x", "num_frames": 0}, "no JSON", {"id": "v0", "prompt": "again"}])
    assert len(make_all(tmp_path)) == 7
    survey, _, _ = survey_of(tmp_path)
    assert survey.read().is_failed.sum() == 3 and survey.invalid.num == 3
    assert str(survey.invalid).startswith("p.jsonl:5: num_frames=0: a video has at least 1 frame; p.jsonl:6: the line")
    write(tmp_path, [*ROWS, {"id": "bad", "prompt": "x"}, {"prompt": "JSON now"}])
    assert len(make_all(tmp_path)) == 2
    rows = list(Manifest(Store(tmp_path / "out")).rows())
    assert len(rows) == 6 and all(row.status == "done" for row in rows)


@pytest.mark.report("B2")
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no row can be made: there is none"),
        ([{"prompt": "a", "num_frames": 99999999999}] * 5, r"p.jsonl:1: num_frames=99999999999: at most .*and 2 more$"),
        ([{"prompt": "circle " * 60}], "no row can be made: p.jsonl:1: prompt='circle .* this bundle takes at most 22"),
        (["no JSON"], "no row can be made: p.jsonl:1: the line is not JSON"),
    ],
)
def test_a_job_of_which_no_row_can_be_made_is_refused(tmp_path, rows, reason):
    write(tmp_path, rows)
    with pytest.raises(ValueError, match=reason):
        survey_of(tmp_path)[0].read()


@pytest.mark.report("C8")
def test_prompts_in_another_encoding_are_refused(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"good\n" * 5000 + "café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^prompts=.*: p.txt: line 5001 is not text in UTF-8 \(byte 0xe9\)"):
        survey_of(tmp_path, prompts=tmp_path / "p.txt")[0].read()


def test_a_file_that_changes_while_the_job_runs_ends_it(tmp_path):
    write(tmp_path, ROWS)
    survey, checker, _ = survey_of(tmp_path)
    found = survey.read()
    for rows in (ROWS[:3], [*ROWS, {"prompt": "new"}], [*ROWS[:3], {**ROWS[3], "seed": 9}]):
        write(tmp_path, rows)
        read = Rows(checker, survey, found)
        read.start()
        with pytest.raises(RuntimeError, match="a file changed while the job ran; run the same command again"):
            while True:
                read.next()


@pytest.mark.report("B17")
def test_a_finished_job_is_surveyed_without_loading_a_model(tmp_path, monkeypatch):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    monkeypatch.setitem(sys.modules, "longtake.pipelines.runners.stages", None)  # an import of it raises
    assert survey_of(tmp_path)[0].read().is_kept.all()


def test_a_manifest_that_was_saved_again_by_pandas_is_the_same_manifest(tmp_path):
    write(tmp_path, [*ROWS, {"id": "bad", "prompt": "x", "num_frames": 0}])
    make_all(tmp_path)
    part = tmp_path / "out" / "manifest" / "part-000001.parquet"
    table = pd.read_parquet(part).astype({"status": "category"}).drop(columns=["unused_columns", "request_sha256"])
    table.assign(note="mine", finished_at=table.finished_at.dt.tz_localize(None)).set_index("id").to_parquet(part)
    write(tmp_path, [*ROWS, {"id": "bad", "prompt": "x", "num_frames": 16}])
    assert make_all(tmp_path) == ["bad"]
    manifest = Manifest(Store(tmp_path / "out"))
    assert [row.id for row in manifest.rows()] == [*(row["id"] for row in ROWS), "bad"]
    assert manifest.table().column("status").to_pylist() == ["done"] * 5
    assert "note" in pd.read_parquet(part).columns, "a column of the user stays"


HAND = {
    "prompt": (lambda t: t.assign(prompt=["edited", *t.prompt[1:]]), r"no longer what the prompts ask for \(v0 from p"),
    "seed": (lambda t: t.assign(asked_seed=99), r"4 finished videos are no longer what the prompts ask for"),
    "twice": (lambda t: pd.concat([t, t[:1]]), r"manifest: 1 row is in its parts more than once; put the file back"),
    "id": (lambda t: t.assign(id=[None, *t.id[1:]]), r"part-000001.parquet cannot be read \(a row has no id\)"),
    "ordinal": (lambda t: t.drop(columns="ordinal"), r"part-000001.parquet cannot be read \(a row has no ordinal\)"),
    "type": (lambda t: t.assign(ordinal=["x"] * 4), r"part-000001.parquet cannot be read \(.*ordinal|parse"),
    "status": (
        lambda t: t.assign(status="Done"),
        r"part-000001.parquet: id='v0': status='Done' must be done or failed",
    ),
    "path": (lambda t: t.assign(path=None), r"id='v0': path is missing, but status=done"),
    "away": (lambda t: t.assign(path="../../x.mp4"), r"id='v0': path='../../x.mp4' leads out of the folder"),
    "root": (lambda t: t.assign(path="/x.mp4"), r"id='v0': path='/x.mp4' leads out of the folder"),
}


@pytest.mark.report("B1", "B14")
@pytest.mark.parametrize("edit", HAND)
def test_a_manifest_that_was_edited_is_compared_or_refused_by_its_file(tmp_path, edit):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    part = tmp_path / "out" / "manifest" / "part-000001.parquet"
    change, reason = HAND[edit]
    change(pd.read_parquet(part)).to_parquet(part, index=False)
    with pytest.raises(ValueError, match=reason):
        survey_of(tmp_path)[0].read()
    if edit in ("away", "root"):
        with pytest.raises(ValueError, match=reason):
            forget(Manifest(Store(tmp_path / "out")), survey_of(tmp_path, "changed=remake")[0].read())


@pytest.mark.report("B1", "C12")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("part-000002.parquet", "manifest: 4 rows are in its parts more than once"),
        ("all.parquet", "manifest/all.parquet is not a part that a job wrote: move it away, or rename it back"),
    ],
)
def test_a_part_that_was_copied_is_refused_because_readers_would_take_its_rows_twice(tmp_path, name, reason):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    folder = tmp_path / "out" / "manifest"
    (folder / name).write_bytes((folder / "part-000001.parquet").read_bytes())
    with pytest.raises(ValueError, match=reason):
        survey_of(tmp_path)[0].read()
    (folder / name).unlink()
    (folder / "_records" / "ab").mkdir(parents=True, exist_ok=True)
    for other in (".DS_Store", "._v0.json", "Thumbs.db"):
        (folder / "_records" / "ab" / other).write_text("left by a file manager")
    assert survey_of(tmp_path)[0].read().is_kept.all()


@pytest.mark.report("B1")
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "v0"}', "null", "\x00"])
def test_a_record_that_is_none_is_refused_by_its_path(tmp_path, text):
    write(tmp_path, ROWS)
    make_all(tmp_path)
    Store(tmp_path / "out").put("manifest/_records/02/v0.json", text.encode())
    rule = r"manifest/_records/02/v0.json is not a record that a job wrote \(.*\): put it back as it was, or delete it"
    with pytest.raises(ValueError, match=rule):
        survey_of(tmp_path)[0].read()
    with pytest.raises(ValueError, match=rule):
        list_videos(f"{tmp_path}/out")
