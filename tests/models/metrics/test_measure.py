import math
import tracemalloc

import numpy as np
import psutil
import pytest

from longtake.models.metrics.change import frame_differences
from longtake.models.metrics.clip import Clip, Embedder, anchor_scores, clip_scores
from longtake.models.metrics.flow import dis
from longtake.models.metrics.measure import measure
from longtake.models.stages.bundle import load_bundle
from longtake.pipelines.config.model_folders import bundle_path
from tests.support.clips import real_clip, scuts, still, texture, translating

COLUMNS = {
    "num_frames",
    "fps",
    "width",
    "height",
    "flow",
    "scuts",
    "ofs",
    "ofs_squared",
    "warp_error",
    "mawe_v1",
    "mawe_cvpr",
    "mawe_code",
    "clip_score",
    "clip_anchor",
    "flow_std",
    "seam_ratio",
    "temporal_flicker",
    "stagnation",
    "drift_color",
    "drift_sharpness",
    "drift_embedding",
    "drift_motion",
    "seam_flow",
    "seam_feature",
}


@pytest.fixture(scope="module")
def clip():
    wanted = ("image_encoder", "text_encoder", "tokenizer")
    parts = load_bundle(bundle_path("tiny"), keep=lambda name: name in wanted).parts
    return Clip(*(parts[name] for name in wanted))


def test_every_figure_has_its_column_and_none_is_nan():
    values = measure(translating(6, 2, 0), 8.0, dis(), size=128, borders=[3]).values
    assert set(values) == COLUMNS
    assert not [name for name, value in values.items() if isinstance(value, float) and math.isnan(value)]


def test_a_texture_that_moves_two_pixels_a_frame():
    values = measure(translating(8, 2, 0), 8.0, dis(), size=128, borders=[4]).values
    assert values["ofs"] == pytest.approx(2, abs=0.15) and values["flow_std"] < 0.1
    assert values["scuts"] == 0 and values["stagnation"] == 0 and values["flow"] == "dis"
    assert values["seam_ratio"] == pytest.approx(1, abs=0.1)
    assert (values["num_frames"], values["width"], values["height"], values["fps"]) == (8, 128, 128, 8)
    noise = measure(np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8), 8.0, dis(), size=128).values
    assert values["warp_error"] < 0.1 * noise["warp_error"] and values["mawe_code"] < 0.1 * noise["mawe_code"]


def test_a_still_video_stagnates_and_its_mawe_is_infinite():
    values = measure(still(6), 8.0, dis(), size=128, borders=[3]).values
    assert values["stagnation"] == 1 and values["ofs"] == 0
    assert [values[name] for name in ("mawe_v1", "mawe_cvpr", "mawe_code")] == [math.inf] * 3
    assert values["seam_ratio"] is None  # nothing over nothing


def test_a_texture_that_goes_from_one_pixel_a_frame_to_four_half_way():
    path = np.cumsum([0] + [1] * 10 + [4] * 10)
    frames = np.stack([np.roll(texture(), int(x), axis=1) for x in path])
    values = measure(frames, 8.0, dis(), size=128, borders=[8]).values
    assert values["drift_motion"] == pytest.approx(3, abs=0.3) and values["flow_std"] == pytest.approx(1.5, abs=0.2)
    assert values["ofs"] == pytest.approx(2.5, abs=0.2) and values["ofs_squared"] == pytest.approx(8.5, rel=0.15)
    assert values["drift_color"] < 0.001 and values["drift_sharpness"] < 0.001


def test_a_jump_at_a_border_is_a_seam_in_picture_motion_and_drawing():
    frames = np.concatenate([translating(8, 1, 0), translating(8, 1, 0, seed=1)])
    at, elsewhere = (measure(frames, 8.0, dis(), size=128, borders=[border]).values for border in (8, 4))
    for name in ("seam_ratio", "seam_flow", "seam_feature"):
        assert at[name] > 1.5 and elsewhere[name] < 1


def test_light_that_flickers_and_fades_is_told_so():
    light = np.r_[np.full(6, 150), 150, 90, 150, 90, 150, 90, np.full(6, 99)]
    frames = np.broadcast_to(light[:, None, None, None], (18, 128, 128, 3)).astype(np.uint8)
    values = measure(frames, 8.0, dis(), size=128).values
    assert values["temporal_flicker"] == pytest.approx(1 - (5 * 60 + 9) / 17 / 255)
    assert values["stagnation"] == pytest.approx(11 / 17)
    assert values["drift_color"] == pytest.approx(np.sqrt(3) * 51 / 255)


def test_flow_is_measured_in_pixels_of_the_size_that_is_asked_for():
    half, whole = (measure(translating(4, 2, 0), 8.0, dis(), size=size).values["ofs"] for size in (128, 256))
    assert whole == pytest.approx(2 * half, rel=0.1)


@pytest.mark.parametrize("borders", [(), (0,), (99,), (1, 2, 3, 4, 5)])
def test_without_a_border_inside_or_a_rest_there_are_no_seams(borders):
    values = measure(translating(6, 2, 0), 8.0, dis(), size=128, borders=borders).values
    assert values["seam_ratio"] is values["seam_flow"] is values["seam_feature"] is None


def test_one_frame_is_no_video():
    with pytest.raises(ValueError, match="num_frames=1"):
        measure(still(1), 8.0, dis())


def test_a_real_clip_has_the_cuts_that_one_sees():
    """bikes.mp4: six scenes, which begin at 0, 30, 76, 137, 187 and 242; no other frame differs half as much."""
    frames = real_clip("bikes.mp4", 320, 180)
    assert (np.flatnonzero(frame_differences(frames) > 50 / 255) + 1).tolist() == [30, 76, 137, 187, 242]
    assert scuts(frames, 25.0) == 5


def test_a_real_scene_without_a_cut_is_consistent_and_moves():
    frames = real_clip("carphone_pristine.mp4", 176, 144)[:40]
    values = measure(frames, 29.97, dis(), size=180).values
    shuffled = measure(frames[np.random.default_rng(0).permutation(40)], 29.97, dis(), size=180).values
    assert values["scuts"] == 0 and values["stagnation"] < 0.1
    assert values["warp_error"] < shuffled["warp_error"]
    assert values["flow_std"] < shuffled["flow_std"]


def test_a_clip_model_tells_the_right_prompt_from_a_wrong_one(clip):
    from longtake.models.toy_world.render import render
    from longtake.models.toy_world.world import sample_scene

    scene = sample_scene(np.random.default_rng(3), color="red", background="navy", style="plain", size="large")
    frames = (render([scene], np.arange(8), 64)[0].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    wrong = scene.caption().replace("red", "green").replace("navy", "brown")
    right, other = (
        measure(frames, 8.0, dis(), size=128, prompt=prompt, clip=clip).values["clip_score"]
        for prompt in (scene.caption(), wrong)
    )
    assert other + 10 < right <= 100


def test_scores_are_a_hundred_cosines(clip):
    embedder = Embedder(clip)
    for frame in still(3):
        embedder.add(frame)
    embeds = embedder.finish()
    assert np.allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-5)
    assert np.allclose(anchor_scores(embeds), 100, atol=1e-3)
    assert np.allclose(clip_scores(embeds, -embeds[0]), -100, atol=1e-3)
    values = measure(still(3), 8.0, dis(), size=128, clip=clip).values
    assert values["clip_anchor"] == pytest.approx(100, abs=1e-3) and values["clip_score"] is None
    assert values["drift_embedding"] == pytest.approx(0, abs=1e-5)


@pytest.mark.report("C17")
def test_frames_of_a_generator_give_the_figures_of_an_array_and_are_not_held(clip):
    def peak_mib(num_frames):
        tracemalloc.start()
        measured = measure(stream(num_frames), 8.0, dis(), size=64, prompt="a", borders=[3], clip=clip)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        assert measured.values["num_frames"] == num_frames
        return peak

    def stream(num_frames):
        frame = translating(2, 2, 0, 256)  # 192 KiB a frame
        return (np.roll(frame[i % 2], i, 0) for i in range(num_frames))

    array, generator = (
        measure(frames, 8.0, dis(), size=64, borders=[3], clip=clip)
        for frames in (np.stack(list(stream(6))), stream(6))
    )
    assert array.values == generator.values
    peak_mib(2)  # what the libraries keep from their first use
    assert peak_mib(120) < peak_mib(12) + 1  # 108 frames more are 20 MiB


@pytest.mark.report("C17")
def test_the_heap_does_not_grow_with_the_frames(clip):
    """tracemalloc does not see memory that is freed but not returned: 2.5 MB a frame if each has its own floats."""

    def resident_mib():
        return psutil.Process().memory_info().rss / 2**20

    picture = np.repeat(np.repeat(translating(1, 0, 0, 128)[0], 3, 0), 5, 1)  # 384x640
    frames = [np.roll(picture, i, 1) for i in range(3)]
    measure((frames[i % 3] for i in range(20)), 8.0, dis(), size=128, clip=clip)
    before = resident_mib()
    measure((frames[i % 3].copy() for i in range(140)), 8.0, dis(), size=128, clip=clip)
    assert resident_mib() < before + 60
