"""Small networks with random parameters: parameters that start at zero would hide mistakes."""

from typing import Any

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam

TEXT_TOKENS, TEXT_DIM, IMAGE_DIM = 6, 12, 10
NARROW = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    "layers_per_block": 1,
    "attention_head_dim": 8,
}


def randomise(net: nn.Module, seed: int = 0) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_unet(**changes: Any) -> UNet3DConditionModel:
    config = {"in_channels": 4, "out_channels": 4, "norm_num_groups": 8, "cross_attention_dim": TEXT_DIM, **NARROW}
    unet = UNet3DConditionModel(**{**config, **changes}).eval()
    randomise(unet)
    return unet


def tiny_cam(unet: UNet3DConditionModel, head_dim: int = 8) -> Cam:
    """Untrained: the frame encoder's last layer and all P_out are zero. Two halvings: 4 pixels per latent."""
    return Cam.from_unet(unet, conditioning_embedding_out_channels=(4, 6, 8), merger_head_dim=head_dim).eval()


def tiny_apm(unet: UNet3DConditionModel) -> Apm:
    """Untrained: every alpha is zero."""
    return Apm.from_unet(unet, IMAGE_DIM, hidden_dim=14, num_tokens=3, text_tokens=TEXT_TOKENS).eval()
