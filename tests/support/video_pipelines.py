"""Pipelines of diffusers with random weights, in the sizes of its own tests."""

from pathlib import Path

import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    I2VGenXLPipeline,
    MotionAdapter,
    SparseControlNetModel,
    StableVideoDiffusionPipeline,
    TextToVideoSDPipeline,
    UNet2DConditionModel,
    UNet3DConditionModel,
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


def write_pipeline(build, bundle: Path, folder: Path) -> Path:
    """Writes the pipeline that `build` makes with the tokenizer of a bundle."""
    torch.manual_seed(0)
    build(AutoTokenizer.from_pretrained(bundle / "tokenizer")).save_pretrained(folder)
    return folder


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


SIZES = {"block_out_channels": (8, 8), "cross_attention_dim": 8, "layers_per_block": 1, "attention_head_dim": 4}


def sparse_ctrl(tokenizer):
    control = SparseControlNetModel(
        conditioning_channels=3,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        norm_num_groups=2,
        conditioning_embedding_out_channels=(8, 8),
        use_simplified_condition_embedding=False,
        **SIZES,
    )
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    return AnimateDiffSparseControlNetPipeline(
        vae([8, 8]), text(8), tokenizer, image_unet(), motion(), control, scheduler
    )


def animate_diff(tokenizer):
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    return AnimateDiffPipeline(vae([8, 8]), text(8), tokenizer, image_unet(), motion(), scheduler)


def text_to_video(tokenizer):
    unet = UNet3DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        norm_num_groups=2,
        **SIZES,
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
    return TextToVideoSDPipeline(vae([8, 8]), text(8), tokenizer, unet, scheduler)


def motion():
    return MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    )


def image_unet():
    return UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        **SIZES,
    )
