"""The pipelines of diffusers as autoregressive baselines, really run, with random weights in the sizes of its tests."""

import numpy as np
import pytest
import torch

from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.ablation.image_to_video import continued, load_pipeline
from longtake.pipelines.ablation.settings import DiffusersParams, check_folder
from tests.support.video_pipelines import i2vgen_xl, sparse_ctrl, svd, write_pipeline

PARAMS = DiffusersParams(height=32, width=32, num_frames=4, num_inference_steps=1)
SPEC = PromptSpec("v", "a large red circle", num_frames=6, seed=5)
FIRST = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)


@pytest.fixture(scope="module", params=[("svd", svd), ("i2vgen-xl", i2vgen_xl), ("sparse-ctrl", sparse_ctrl)])
def pipeline(request, random_bundle, tmp_path_factory):
    """(variant, the pipeline as it is loaded from its folder, the folder)."""
    name, build = request.param
    folder = write_pipeline(build, random_bundle, tmp_path_factory.mktemp(name))
    return name, load_pipeline(name, str(folder), "cpu", "float32"), folder


def test_a_video_has_its_length_and_says_where_calls_begin(pipeline):
    before = torch.get_rng_state()
    frames, borders = continued(*pipeline[:2], PARAMS, SPEC, FIRST)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert frames.shape == (6, 32, 32, 3) and frames.dtype == np.uint8
    assert borders == (4,)  # the second call's first frame repeats frame 3
    assert np.array_equal(frames, continued(*pipeline[:2], PARAMS, SPEC, FIRST)[0])


def test_each_call_continues_the_last_frame_of_the_one_before(pipeline):
    name, real, _ = pipeline
    seen = []

    def watched(**arguments):
        made = real(**arguments)
        seen.append((arguments.get("image") or arguments["conditioning_frames"][0], made.frames[0]))
        return made

    frames, _ = continued(name, watched, PARAMS, SPEC, FIRST)
    assert len(seen) == 2 and np.array_equal(np.asarray(seen[0][0]), FIRST)
    assert seen[1][0] is seen[0][1][-1]
    assert np.array_equal(frames[4], np.asarray(seen[1][1][1]))


def test_a_folder_with_another_pipeline_is_refused_by_name(pipeline):
    name, _, folder = pipeline
    other = "svd" if name != "svd" else "i2vgen-xl"
    with pytest.raises(ValueError, match=f"diffusers.{other.replace('-', '_')}=.*holds a .*, not a "):
        check_folder(other, str(folder))


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(ValueError, match="diffusers.svd=.* is not a diffusers pipeline"):
        check_folder("svd", str(tmp_path))


def test_settings_below_one_are_refused():
    with pytest.raises(ValueError, match="num_frames=0 must be at least 1"):
        DiffusersParams(num_frames=0)


def test_a_pipeline_of_single_frames_cannot_be_continued():
    from types import SimpleNamespace

    from PIL import Image

    still = SimpleNamespace(frames=[[Image.fromarray(FIRST)]])
    with pytest.raises(ValueError, match="at least 2"):
        continued("svd", lambda **_: still, PARAMS, SPEC, FIRST)
