import pytest

from longtake.models.stages.params import BaseParams
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.train.clips import ClipEncoder
from longtake.pipelines.train.settings import CutParams, Cutting
from tests.support.videos import noise, video


@pytest.mark.report("C21")
def test_a_video_that_is_too_short_because_it_was_cut_says_both(random_bundle, tmp_path):
    data = video(noise(48)).getvalue()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    encoder = ClipEncoder(Cutting(tmp_path, str(random_bundle), CutParams(), 0, 0.1, "cpu", BaseParams()))
    row = encoder(Listed("a.mkv", str(tmp_path / "a.mkv"), prompt="a red circle"))
    assert row["reason"].startswith("it has 2")
    assert "a clip needs 32" in row["reason"] and "; it ends early: after " in row["reason"]
