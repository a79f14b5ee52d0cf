"""The pipelines of diffusers as autoregressive baselines, really run, with random weights in the sizes of its tests."""

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    I2VGenXLPipeline,
    MotionAdapter,
    SparseControlNetModel,
    StableVideoDiffusionPipeline,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLUNet
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from longtake.models.domain.prompt import PromptSpec
from longtake.pipelines.ablation.image_to_video import continued, load_pipeline
from longtake.pipelines.ablation.settings import DiffusersParams, check_folder

PARAMS = DiffusersParams(height=32, width=32, num_frames=4, num_inference_steps=1)
SPEC = PromptSpec("v", "a large red circle", num_frames=6, seed=5)
FIRST = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)


def vision(width, side=32):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": side, "patch_size": side // 4}
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=width, projection_dim=width, intermediate_size=16, **sizes)
    )


def text(width):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 300, "intermediate_size": 16}
    return CLIPTextModel(CLIPTextConfig(hidden_size=width, **sizes))


def vae(widths):
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
    }
    return AutoencoderKL(block_out_channels=widths, latent_channels=4, norm_num_groups=2, sample_size=32, **blocks)


def svd(tokenizer):
    unet = UNetSpatioTemporalConditionModel(
        sample_size=32,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
        layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=8,
    )
    decoder = AutoencoderKLTemporalDecoder(down_block_types=["DownEncoderBlock2D"] * 2, block_out_channels=[32, 64])
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        timestep_type="continuous",
        sigma_min=0.002,
        sigma_max=700.0,
        use_karras_sigmas=True,
    )
    return StableVideoDiffusionPipeline(
        decoder, vision(32, side=224), unet, scheduler, CLIPImageProcessor(crop_size=32, size=32)
    )


def i2vgen_xl(tokenizer):
    unet = I2VGenXLUNet(
        sample_size=32,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=4,
        attention_head_dim=4,
        num_attention_heads=None,
    )
    processor, scheduler = CLIPImageProcessor(crop_size=32, size=32), DDIMScheduler(clip_sample=False)
    return I2VGenXLPipeline(vae([8]), text(4), tokenizer, vision(4), processor, unet, scheduler)


def sparse_ctrl(tokenizer):
    sizes = {"block_out_channels": (8, 8), "cross_attention_dim": 8, "layers_per_block": 1, "attention_head_dim": 4}
    down = ("CrossAttnDownBlock2D", "DownBlock2D")
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=down,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        **sizes,
    )
    control = SparseControlNetModel(
        conditioning_channels=3,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        norm_num_groups=2,
        conditioning_embedding_out_channels=(8, 8),
        use_simplified_condition_embedding=False,
        **sizes,
    )
    motion = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    return AnimateDiffSparseControlNetPipeline(vae([8, 8]), text(8), tokenizer, unet, motion, control, scheduler)


@pytest.fixture(scope="module", params=[("svd", svd), ("i2vgen-xl", i2vgen_xl), ("sparse-ctrl", sparse_ctrl)])
def pipeline(request, random_bundle, tmp_path_factory):
    """(variant, the pipeline as it is loaded from its folder, the folder)."""
    name, build = request.param
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(name)
    build(AutoTokenizer.from_pretrained(random_bundle / "tokenizer")).save_pretrained(folder)
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
