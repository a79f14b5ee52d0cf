import numpy as np
import pytest

from pipelines.tiny_results import held_out_scenes, run, table

TRAINING = ((0, "base", 50), (1, "base", 50))


def test_held_out_captions_are_new_each_and_never_seen_in_training():
    from models.training.pool import pool_scenes

    scenes = held_out_scenes(64, TRAINING)
    captions = {scene.caption() for scene in scenes}
    assert len(captions) == 64
    for seed in (0, 1):
        assert not captions & {scene.caption() for scene in pool_scenes(seed, "base", 50, 0)[0]}
    assert [s.caption() for s in held_out_scenes(8, TRAINING)] == [s.caption() for s in scenes[:8]]


def test_the_table_has_a_column_a_variant_and_says_how_many():
    row = {
        f"{name}_{place}": True
        for name in ("color", "background", "motion", "shape", "size")
        for place in ("start", "end")
    }
    rows = [{"variant": "full", "seam": 1.5, "scuts": 0, **row}, {"variant": "no CAM", "seam": 4.0, "scuts": 2, **row}]
    text = table(rows)
    assert "| full (1) | no CAM (1) |" in text.splitlines()[0]
    assert "| direction right, frames 0-15 | 100 % (100-100) |" in text
    assert "| seam ratio at chunk borders (1 = invisible) | 1.50 (1.50-1.50) | 4.00 (4.00-4.00) |" in text


def test_figures_and_picture_are_made_from_videos_that_are_there(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    out.mkdir()
    (out / "tiny.md").write_text("# x\n<!-- figures -->\nold\n<!-- end of figures -->\nend\n")
    rng = np.random.default_rng(0)
    for index in range(2):
        np.save(videos / f"full-{index:02d}.npy", rng.integers(0, 255, (80, 64, 64, 3), np.uint8))
    run({"full": 2}, videos, out, TRAINING)
    text = (out / "tiny.md").read_text()
    assert "full (2)" in text and "old" not in text and text.endswith("end\n")
    assert len((out / "tiny.jsonl").read_text().splitlines()) == 2
    assert (out / "tiny.png").stat().st_size > 1000


def test_a_missing_marker_is_not_papered_over(tmp_path):
    (tmp_path / "tiny.md").write_text("no markers")
    with pytest.raises(ValueError):
        run({"full": 0}, tmp_path, tmp_path, TRAINING)
