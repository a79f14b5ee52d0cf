"""Pipelines of diffusers as openers, really run, with random weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Picture
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.opener import fitted
from longtake.models.stages.params import BaseParams, OpenerParams
from longtake.models.stages.video_pipeline import PipelineOpener, VideoPipeline, load_pipeline
from longtake.models.video.fit import Fit
from longtake.models.video.frames import to_uint8
from tests.support.pipelines import pickled
from tests.support.video_pipelines import animate_diff, svd, text_to_video, write_pipeline

SPEC = PromptSpec("v", "a large red circle moves right", "a ring", 30, 5)
PLAN = Plan(30, PlanParams())
PARAMS = BaseParams(num_inference_steps=1, anchor_frame=3)
OPENING = OpenerParams(model="x", num_inference_steps=1, num_frames=16, height=32, width=64)
PHOTO = Picture(np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8))

ASKED = (SPEC, SPEC.prompt, PLAN, PHOTO)


@pytest.fixture(scope="module")
def folders(random_bundle, tmp_path_factory):
    builds = (text_to_video, animate_diff, svd)
    return {one.__name__: write_pipeline(one, random_bundle, tmp_path_factory.mktemp(one.__name__)) for one in builds}


@pytest.fixture(scope="module", params=["text_to_video", "animate_diff", "svd"])
def pipeline(request, folders):
    return VideoPipeline(folders[request.param]).load("cpu", torch.float32)


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return load_bundle(random_bundle)


def picture_for(pipeline):
    return PHOTO if pipeline.needs_picture else None


def test_the_same_request_gives_the_same_frames_whatever_torch_drew_before(pipeline):
    opener, before = pipeline.as_opener(OPENING), torch.get_rng_state()
    frames = opener.open(SPEC, SPEC.prompt, PLAN, picture_for(pipeline))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert frames.shape == (16, 32, 64, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames, opener.open(SPEC, SPEC.prompt, PLAN, picture_for(pipeline)))
    other = replace(SPEC, seed=6)
    assert not np.array_equal(frames, opener.open(other, SPEC.prompt, PLAN, picture_for(pipeline)))


def test_the_base_model_continues_its_frames(pipeline, bundle):
    base = replace(bundle, opener=pipeline).base_model(PARAMS, OPENING)
    memory, chunk = base.advance(SPEC, PLAN, 0, picture_for(pipeline))
    seen = Picture(PHOTO.frame[:, 25:65]) if pipeline.needs_picture else None  # the middle square
    own = pipeline.as_opener(OPENING).open(SPEC, SPEC.prompt, PLAN, seen)
    assert np.array_equal(chunk.frames, to_uint8(fitted(own, (32, 32), Fit.COVER)))
    anchor = 0 if pipeline.needs_picture else PARAMS.anchor_frame
    assert np.array_equal(to_uint8(torch.from_numpy(memory.anchor)[None])[0], chunk.frames[anchor])
    assert base.advance(SPEC, PLAN, 1, memory)[1].frames.shape == (8, 32, 32, 3)


def test_a_picture_stands_between_bars_that_are_cut_off_again(folders):
    square = Picture(np.full((48, 48, 3), 200, np.uint8))
    for fit, edge in ((Fit.COVER, 0), (Fit.STRETCH, 200)):
        opener = PipelineOpener(VideoPipeline(folders["svd"]), replace(OPENING, fit=fit))
        placed = np.asarray(opener._placed(square))
        assert placed.shape == (32, 64, 3) and (placed[:, 16:48] == 200).all()
        assert (placed[:, :16] == edge).all() and (placed[:, 48:] == edge).all()
        assert (to_uint8(fitted(placed[None], (32, 32), fit)) == 200).all()


def test_an_image_to_video_pipeline_without_a_picture_is_refused_by_name(folders):
    opener = PipelineOpener(VideoPipeline(folders["svd"]), OPENING)
    with pytest.raises(ValueError, match="StableVideoDiffusionPipeline needs a picture"):
        opener.open(SPEC, SPEC.prompt, PLAN)


def test_too_few_frames_are_refused_with_both_numbers(folders):
    about = VideoPipeline(folders["svd"])  # num_frames of its UNet's config: 25
    about.check(OPENING, 16)
    with pytest.raises(ValueError, match=r"^opener.num_frames=12: Stable.* has to make the 16 of a first chunk"):
        about.check(replace(OPENING, num_frames=12), 16)
    with pytest.raises(ValueError, match=r"^opener.num_frames=25: Stable.* the 40 of"):
        about.check(replace(OPENING, num_frames=None), 40)
    pipeline = VideoPipeline(folders["animate_diff"]).load("cpu", torch.float32)
    with pytest.raises(ValueError, match="AnimateDiffPipeline made 4 frames, and the first chunk has 16"):
        pipeline.as_opener(replace(OPENING, num_frames=4)).open(SPEC, SPEC.prompt, PLAN)


def test_a_setting_that_its_call_does_not_take_is_refused(folders):
    with pytest.raises(ValueError, match=r"^opener.guidance_scale=5.0 has no effect: StableVideoDiff.* does not take"):
        VideoPipeline(folders["svd"]).check(replace(OPENING, guidance_scale=5.0), 16)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline makes no videos"),
        ({"_class_name": "MyPipeline"}, "MyPipeline is no pipeline of diffusers"),
        ({"_class_name": "UNet2DModel"}, "UNet2DModel is no pipeline of diffusers"),
        ({"_class_name": "LucyEditPipeline"}, "LucyEditPipeline needs video, which"),
        ({"_class_name": "AnimateDiffControlNetPipeline"}, "needs conditioning_frames, which"),
        ({"_class_name": ["pipeline", "Mine"]}, r"_class_name=\['pipeline', 'Mine'\] .* is code of its own"),
    ],
)
def test_a_pipeline_that_cannot_make_a_first_chunk_is_refused_by_name(tmp_path, index, says):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=says):
        VideoPipeline(tmp_path)


def test_pickles_are_read_where_that_is_allowed(folders, tmp_path):
    copy = shutil.copytree(folders["svd"], tmp_path / "copy")
    for part in ("unet", "vae", "image_encoder"):
        pickled(copy / part)
    with pytest.raises(ValueError, match="the pipeline cannot be loaded"):
        VideoPipeline(copy).load("cpu", torch.float32)
    frames = [
        VideoPipeline(folder).load("cpu", torch.float32, allow_pickle=True).as_opener(OPENING).open(*ASKED)
        for folder in (copy, folders["svd"])
    ]
    assert np.array_equal(*frames)


def test_code_and_pickles_of_a_folder_are_never_run(folders, tmp_path):
    index = json.loads((folders["svd"] / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "unet": ["unet.mine", "Mine"]}))
    with pytest.raises(ValueError, match=r"unet=\['unet.mine', 'Mine'\] .* only classes of diffusers and transformers"):
        load_pipeline(tmp_path, "cpu", torch.float32)
    for path in folders["svd"].iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "unet").unlink()
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text((folders["svd"] / "unet" / "config.json").read_text())
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"no pickle is opened")
    for allowed in (False, True):
        with pytest.raises(ValueError, match="the pipeline cannot be loaded"):
            load_pipeline(tmp_path, "cpu", torch.float32, allow_pickle=allowed)
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "mine.Mine"}}))
    with pytest.raises(ValueError, match=r"unet/config.json names code \(auto_map\), and no model may bring code"):
        load_pipeline(tmp_path, "cpu", torch.float32)
