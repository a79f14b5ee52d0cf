import tracemalloc

import numpy as np
import pytest

from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.settings import load_evaluate
from longtake.pipelines.files.video_file import VideoWriter
from tests.support.clips import translating
from tests.support.evaluations import FAST
from tests.support.places import REPORTS


@pytest.fixture(scope="module")
def measurer():
    return Measurer(load_evaluate(overrides=["manifest=x", "out=x", *FAST, "size=64"]))


@pytest.mark.report("C17")
def test_a_long_video_takes_no_more_memory_than_a_short_one(measurer, tmp_path):
    def peak_mib(num_frames):
        path = tmp_path / f"{num_frames}.mp4"
        with VideoWriter(path, 8) as writer:
            for _ in range(num_frames // 20):
                writer.write(translating(20, 2, 0, 128).astype(np.uint8))
        video = Listed(path.name, str(path))
        tracemalloc.start()
        assert measurer(video)["num_frames"] == num_frames
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return peak

    peak_mib(20)  # what the libraries keep from their first use
    assert peak_mib(200) < peak_mib(40) + 1  # 160 frames more are 7.5 MiB


@pytest.mark.report("C21")
def test_half_a_file_is_measured_with_a_note_and_one_without_a_frame_is_a_reason(measurer, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 8) as writer:
        writer.write(translating(24, 3, 0, 64).astype(np.uint8))
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.mp4").write_bytes(whole[:1000])
    row = measurer(Listed("half.mp4", str(tmp_path / "half.mp4")))
    assert row["status"] == "done" and 2 <= row["num_frames"] < 24 and "damaged" in row["notes"]
    row = measurer(Listed("head.mp4", str(tmp_path / "head.mp4")))
    assert row["status"] == "failed" and row["reason"] and str(tmp_path) not in row["reason"]
    assert measurer(Listed("a.mp4", str(tmp_path / "a.mp4")))["notes"] is None


@pytest.mark.report("C7", "C15", "C21")
def test_files_of_real_people_are_rows_with_notes_on_what_was_converted(measurer):
    rows = {}
    for place in (REPORTS / "clips", REPORTS / "names", REPORTS / "hash", REPORTS):
        rows |= {row["path"]: row for row in map(measurer, list_videos(f"{place}/*"))}
    failed = {path: row["reason"] for path, row in rows.items() if row["status"] != "done"}
    assert failed == {
        "one_frame.mp4": "num_frames=1: metrics of motion need at least 2",
        "song.mp4": "it has no video stream",
    }
    assert {"old.wmv", "phone.3gp", "dvd.vob", "anim.apng", "Episode #1.mp4"} <= set(rows)
    assert {"hdr10.mp4", "screen_vfr.mp4", "anamorphic_dvd.mp4"} <= {path for path in rows if rows[path].get("notes")}
