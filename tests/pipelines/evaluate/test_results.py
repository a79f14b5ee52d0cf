import math

import pandas as pd

from longtake.models.metrics.catalog import BY_NAME
from longtake.pipelines.datasets.video_list import list_videos
from longtake.pipelines.evaluate.results import ORDER, SCHEMA, Evaluation
from longtake.pipelines.files.store import Store
from tests.support.evaluations import measured

ISSUED = (
    "path, status, reason, num_frames, fps, width, height, flow, scuts, ofs, ofs_squared, warp_error, mawe_v1, "
    "mawe_cvpr, mawe_code, clip_score, clip_anchor, flow_std, seam_ratio, temporal_flicker, stagnation"
)


def test_the_columns_have_the_names_that_people_rely_on():
    assert ORDER.split()[:21] == ISSUED.split(", ")
    assert set(BY_NAME) <= set(SCHEMA.names)


def test_a_still_video_is_a_row_with_an_infinite_mawe(folder, tmp_path):
    evaluation = measured(folder, tmp_path / "out")
    rows = evaluation.rows(SCHEMA.names)
    assert [math.isinf(row["mawe_code"]) for row in rows] == [False, False, True, False]
    assert rows[0]["ofs"] < rows[1]["ofs"] < rows[3]["ofs"] and rows[2]["stagnation"] == 1
    assert len(rows[0]["curve_flow"]) == 9 and rows[0]["clip_score"] is None
    assert not any(name.startswith("curve_") for name in evaluation.rows()[0])  # the memory of all of them has no bound
    (one,) = evaluation.curves([rows[1]["made_from"]]).values()
    assert one["curve_flow"] == rows[1]["curve_flow"]


def test_pandas_reads_an_evaluation(folder, tmp_path):
    evaluation = measured(folder, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "metrics")
    assert list(table.columns[:21]) == ISSUED.split(", ") and len(table) == len(list_videos(str(folder)))
    assert Evaluation(Store(tmp_path / "out")).settings == evaluation.settings
