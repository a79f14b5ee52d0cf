import os
import pickle
import random
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pyarrow.dataset
import pytest

import longtake.pipelines.datasets.manifest
from longtake.models.domain.prompt import Cue
from longtake.pipelines.datasets.finished import digest_of, digests_of
from longtake.pipelines.datasets.manifest import SCHEMA, Manifest, VideoRow
from longtake.pipelines.datasets.request_columns import cues_text, read_cues, request_hash
from longtake.pipelines.files.store import Store
from tests.support.places import ROOT

NOON = datetime(2026, 9, 1, 12, 0, 0, 123456, UTC)


def _done(number: int, **changes: object) -> VideoRow:
    row = {
        "id": f"take-{number}",
        "prompt": "a red circle moves right, 雨",
        "negative_prompt": "",
        "status": "done",
        "source": f"prompts.jsonl:{number + 1}",
        "ordinal": number,
        "path": f"videos/abc/take-{number}.mp4",
        "sha256": "00" * 32,
        "size_bytes": 3_000_000_000,
        "num_frames": 80,
        "fps": 8.0,
        "width": 1280,
        "height": 720,
        "seed": 2**63 - 1,
        "bundle": "tiny",
        "bundle_sha256": "11" * 32,
        "settings": '{"refiner.strength": 0.5}',
        "generate_s": 1.5,
        "refine_s": 2.5,
        "encode_s": 0.25,
        "attempts": 2,
        "finished_at": NOON + timedelta(seconds=number),
    }
    made = VideoRow(**{**row, **changes})
    return replace(made, request_sha256=request_hash(asdict(made)))


def _failed(number: int, **changes: object) -> VideoRow:
    row = {
        "id": f"take-{number}",
        "status": "failed",
        "reason": "num_frames='many': must be a whole number",
        "source": f"prompts.jsonl:{number + 1}",
        "ordinal": number,
        "request_sha256": "22" * 32,
        "finished_at": NOON,
    }
    return VideoRow(**{**row, **changes})


def _ids(manifest: Manifest) -> list[str]:
    return [row.id for row in manifest.rows()]


def _part_ids(store: Store) -> list[str]:
    return list(pd.read_parquet(f"{store}/manifest")["id"]) if _parts(store) else []


def _parts(store: Store) -> list[str]:
    return [path for path in store.list("manifest") if path.endswith(".parquet")]


def test_the_schema_is_that_of_the_row():
    assert SCHEMA.names == list(VideoRow.__dataclass_fields__)
    types = {name: str(SCHEMA.field(name).type) for name in ("id", "seed", "fps", "finished_at")}
    assert types == {"id": "string", "seed": "int64", "fps": "double", "finished_at": "timestamp[us, tz=UTC]"}
    assert not SCHEMA.field("id").nullable and SCHEMA.field("seed").nullable


def test_rows_come_back_as_they_were_recorded_before_and_after_compaction(store):
    manifest = Manifest(store)
    rows = [
        _done(0),
        _failed(1),
        _done(2, preview="previews/2.mp4", thumbnail="thumbnails/2.jpg", prompt='say "é"\n\\'),
    ]
    for row in reversed(rows):
        assert manifest.record(row)
    assert list(manifest.rows()) == rows
    assert manifest.compact() == 3
    assert list(manifest.rows()) == rows
    assert _parts(store) == store.list("manifest") == ["manifest/part-000001.parquet"]


def test_cues_are_json_and_come_back(store):
    cues = (Cue(24, "a blue ring, 雨"), Cue(40, 'say "é"\n'))
    text = cues_text(cues)
    assert text.startswith('[{"from_frame": 24, "prompt": "a blue ring, 雨"}, ') and read_cues(text) == cues
    assert cues_text(()) is None and read_cues(None) == ()
    manifest = Manifest(store)
    manifest.record(_done(0, cues=text))
    manifest.compact()
    assert pd.read_parquet(f"{store}/manifest")["cues"].tolist() == [text]
    assert read_cues(manifest.find("take-0").cues) == cues


def test_a_video_is_recorded_once(store):
    manifest = Manifest(store)
    assert manifest.record(_done(0))
    assert not pickle.loads(pickle.dumps(manifest)).record(_done(0, seed=1))
    assert [row.seed for row in manifest.rows()] == [2**63 - 1]


def test_readers_of_parquet_see_the_parts_and_pass_over_the_records(store):
    manifest = Manifest(store)
    for number in range(3):
        manifest.record(_done(number))
    manifest.compact()
    manifest.record(_done(3))
    frame = pd.read_parquet(f"{store}/manifest")
    assert list(frame["id"]) == ["take-0", "take-1", "take-2"]
    assert list(frame.columns) == SCHEMA.names
    assert frame["finished_at"][1] == pd.Timestamp(NOON + timedelta(seconds=1)) and frame["seed"][0] == 2**63 - 1
    if store.local_path:
        dataset = pyarrow.dataset.dataset(store.local_path / "manifest", format="parquet")
        assert dataset.schema == SCHEMA and dataset.count_rows() == 3


def test_a_part_is_written_when_enough_rows_wait_and_is_sorted(store):
    manifest = Manifest(store)
    for number in (12, 3, 7):
        manifest.record(_done(number))
    assert manifest.compact(min_rows=4) == 0 and _parts(store) == []
    assert manifest.compact(min_rows=3) == 3 and _part_ids(store) == ["take-3", "take-7", "take-12"]
    manifest.record(_done(1))
    assert manifest.compact(min_rows=1) == 1
    assert _parts(store) == ["manifest/part-000001.parquet", "manifest/part-000002.parquet"]
    assert manifest.compact(min_rows=0) == 0 and len(_parts(store)) == 2


def test_a_part_has_a_bounded_number_of_rows(store, monkeypatch):
    monkeypatch.setattr(longtake.pipelines.datasets.manifest, "PART_ROWS", 4)
    manifest = Manifest(store)
    for number in range(9):
        manifest.record(_done(number))
    assert manifest.compact() == 9
    assert sorted(pd.read_parquet(f"{store}/{part}").shape[0] for part in _parts(store)) == [1, 4, 4]
    assert sorted(_part_ids(store)) == [f"take-{number}" for number in range(9)]


def test_finished_rows_are_known_from_parts_and_records(store):
    manifest = Manifest(store)
    assert len(manifest.finished()) == 0 and manifest.finished().find("take-0") is None
    rows = [_done(0), _failed(1), _done(2, seed=5)]
    for row in rows[:2]:
        manifest.record(row)
    manifest.compact()
    manifest.record(rows[2])
    finished = Manifest(store).finished()
    assert len(finished) == 3 and finished.find("take-3") is None
    for row in rows:
        place = finished.find(row.id)
        assert finished.requests[place] == digest_of(row.request_sha256)
        assert (finished.ordinals[place], finished.failed[place]) == (row.ordinal, row.status == "failed")


def test_a_video_is_found_by_its_id(store):
    manifest = Manifest(store)
    rows = [_done(0), _done(1), _failed(2)]
    manifest.record(rows[0])
    manifest.compact()
    manifest.record(rows[1])
    manifest.record(rows[2])
    assert [manifest.find(row.id) for row in rows] == rows
    with pytest.raises(ValueError, match=rf"^id='none' is not in the manifest {store}/manifest$"):
        manifest.find("none")


def test_a_record_whose_row_is_in_a_part_already_is_only_deleted(store):
    manifest = Manifest(store)
    manifest.record(_done(0))
    manifest.compact()
    assert manifest.record(_done(0, attempts=3))  # a repeated call whose success was not reported
    assert [row.attempts for row in manifest.rows()] == [2] and len(manifest.finished()) == 1
    assert manifest.find("take-0").attempts == 2
    assert manifest.compact() == 0
    assert store.list("manifest") == ["manifest/part-000001.parquet"] and _part_ids(store) == ["take-0"]


def test_forgotten_rows_are_gone_and_the_new_ones_count(store):
    manifest = Manifest(store)
    for row in (_done(0), _failed(1), _failed(2)):
        manifest.record(row)
    manifest.compact()
    manifest.record(_failed(3))
    manifest.record(_done(4))
    manifest.forget(digests_of(["take-1", "take-2", "take-3", "take-9"]))
    assert sorted(_ids(manifest)) == ["take-0", "take-4"]
    for row in (_done(1), _failed(2, reason="again"), _done(3)):
        assert manifest.record(row)
    manifest.compact()
    assert sorted(_part_ids(store)) == [f"take-{number}" for number in range(5)]
    assert {row.id: row.reason for row in manifest.rows() if row.status == "failed"} == {"take-2": "again"}
    assert len(Manifest(store).finished()) == 5


def test_a_manifest_may_forget_all_its_rows(store):
    manifest = Manifest(store)
    manifest.record(_failed(0))
    manifest.forget(digests_of(["take-0"]))
    assert len(manifest.finished()) == 0 and _part_ids(store) == []
    manifest.record(_done(0))
    assert manifest.compact() == 1 and _part_ids(store) == ["take-0"]


class _Killed(BaseException):
    pass


class _KilledStore(Store):
    """A store whose process is killed just before its change number `changes`."""

    def __init__(self, url: str | os.PathLike[str], changes: int) -> None:
        super().__init__(url)
        self.changes = changes

    def put(self, path: str, data: bytes) -> None:
        self._count()
        super().put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        self._count()
        return super().create(path, data)

    def delete(self, *paths: str) -> None:
        for path in paths:
            self._count()
            super().delete(path)

    def _count(self) -> None:
        if self.changes == 0:
            raise _Killed
        self.changes -= 1


@pytest.mark.parametrize("retry", [False, True])
def test_whatever_change_a_process_is_killed_before_no_row_is_lost_or_doubled(tmp_path, retry):
    changes = 0
    while True:
        store = Store(tmp_path / f"{changes}")
        before = [_done(number) if number % 2 else _failed(number) for number in range(4)]
        for row in before[:2]:
            Manifest(store).record(row)
        Manifest(store).compact()
        for row in before[2:]:
            Manifest(store).record(row)
        killed = Manifest(_KilledStore(store.url, changes))
        try:
            for row in _left(killed, before, retry):
                killed.record(_done(row.ordinal))
            killed.compact()
        except _Killed:
            _check_after_kill(store, before, retry)
        else:
            break
        changes += 1
    assert changes >= (8 if retry else 3), "the kills have to reach all changes"


def _left(manifest: Manifest, rows: list[VideoRow], retry: bool) -> list[VideoRow]:
    """The rows that are not finished, after those that failed are forgotten if they are retried."""
    finished = manifest.finished()
    if retry:
        manifest.forget(finished.ids[finished.failed])
    finished = manifest.finished()
    return [row for row in rows if finished.find(row.id) is None]


def _check_after_kill(store: Store, before: list[VideoRow], retry: bool) -> None:
    in_parts = _part_ids(store)
    assert len(set(in_parts)) == len(in_parts)
    ids = _ids(Manifest(store))
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {row.id for row in before if row.status == "done" or not retry}
    manifest = Manifest(store)  # the same command again
    for row in _left(manifest, before, retry):
        manifest.record(_done(row.ordinal))
    manifest.compact()
    assert sorted(_part_ids(store)) == sorted(row.id for row in before)
    assert store.list("manifest/_records") == []
    assert all(row.status == "done" for row in manifest.rows()) or not retry


# Records and compacts forever; a killed process is restarted and continues with the unfinished videos.
WORKS_ON = """
import sys
from datetime import UTC, datetime
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.files.store import Store
manifest = Manifest(Store(sys.argv[1]))
finished = manifest.finished()
print("begun", flush=True)
for number in range(100_000):
    if finished.find(f"take-{number}") is None:
        manifest.record(VideoRow(id=f"take-{number}", status="failed", reason="a test", source="prompts.txt:1",
                                 ordinal=number, finished_at=datetime.now(UTC)))
        print(number, flush=True)
        manifest.compact(min_rows=5)
"""


def test_after_real_kills_every_video_that_was_recorded_has_one_row(tmp_path):
    store, recorded = Store(tmp_path), []
    for num_rows, pause_s in ((5, 0.0), (10, 0.003), (13, 0.0), (5, 0.006)):  # a part is written after every 5
        process = subprocess.Popen(
            [sys.executable, "-c", WORKS_ON, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        recorded += [int(process.stdout.readline()) for _ in range(num_rows)]
        time.sleep(pause_s)
        process.kill()
        recorded += [int(line) for line in process.stdout if line.endswith("\n")]
        process.wait(30)
        in_parts = _part_ids(store)
        assert len(set(in_parts)) == len(in_parts)
    store.sweep()
    Manifest(store).compact()
    assert len(set(recorded)) == len(recorded), "no video is made twice"
    numbers = sorted(int(id.removeprefix("take-")) for id in _part_ids(store))
    assert numbers == list(range(len(numbers)))
    # A kill may come between a record and the line that reports it.
    assert set(recorded) <= set(numbers) and len(numbers) - len(recorded) <= 4


def test_many_may_compact_and_read_while_others_record(tmp_path):
    store = Store(tmp_path)
    left, lock, rng = list(range(120)), threading.Lock(), random.Random(0)
    finished = threading.Event()
    seen: list[int] = []
    faults: list[BaseException] = []

    def record() -> None:
        while left:
            with lock:
                number = left.pop(rng.randrange(len(left))) if left else None
            if number is not None:
                assert Manifest(store).record(_done(number))

    def compact() -> None:
        manifest = Manifest(store)
        while not finished.is_set():
            manifest.compact()

    def read() -> None:
        manifest = Manifest(store)
        while not finished.is_set():
            ids = _ids(manifest)
            assert len(set(ids)) == len(ids) >= max(seen, default=0), "a row was doubled or not seen"
            seen.append(len(ids))

    def watched(work) -> None:
        try:
            work()
        except BaseException as error:
            faults.append(error)

    others = [threading.Thread(target=watched, args=[work]) for work in (compact, compact, compact, read)]
    recorders = [threading.Thread(target=watched, args=[record]) for _ in range(2)]
    for thread in (*others, *recorders):
        thread.start()
    for thread in recorders:
        thread.join(60)
    finished.set()
    for thread in others:
        thread.join(60)
    assert faults == [] and len(seen) > 1
    Manifest(store).compact()
    assert sorted(_part_ids(store)) == sorted(f"take-{number}" for number in range(120))
    assert store.list("manifest/_records") == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"status": "lost"}, "lost"),
        ({"reason": "it is done and has a reason"}, "reason="),
        ({"path": None, "seed": None}, "of a done video"),
        ({"finished_at": None}, "finished_at=None"),
        ({"finished_at": datetime(2026, 9, 1, tzinfo=timezone(timedelta(hours=2)))}, "not a time in UTC"),
    ],
)
def test_a_row_that_breaks_a_promise_is_not_recorded(tmp_path, changes, fault):
    with pytest.raises(AssertionError, match=fault):
        Manifest(Store(tmp_path)).record(_done(0, **changes))
    assert os.listdir(tmp_path) == []


def test_a_failed_row_has_a_reason(tmp_path):
    with pytest.raises(AssertionError, match="reason=None of a failed video"):
        Manifest(Store(tmp_path)).record(_failed(0, reason=None))


def test_the_rows_of_many_ids_are_found_in_one_reading(tmp_path):
    manifest = Manifest(Store(tmp_path))
    for number in range(3):
        manifest.record(_done(number))
    wanted = digests_of([f"take-{number}" for number in range(1, 200_000)])
    manifest.rows = lambda: iter([_done(number % 3) for number in range(3_000)])
    began = time.process_time()
    assert {row.id for row in manifest.having(wanted)} == {"take-1", "take-2"}
    assert time.process_time() - began < 2  # a search in all ids for each row takes 300 s
