"""CAM, the conditional attention module: short-term memory (StreamingT2V, arXiv 2403.14773, section 4.1).

    condition frames -> frame encoder --+
    x[:, :, :f], t, text -> conv_in, transformer_in -(+)-> the UNet's down and mid blocks -> features of f frames
    each skip of the base UNet, and its mid output, attends over time to the feature at its own place: a merger

Tensor names are those of the published checkpoint: see `longtake.models.convert.names`.

Shapes: b batch, t frames, f condition frames, c channels, h w rows and columns.
"""

from collections.abc import Sequence
from typing import Any

from diffusers import UNet3DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_3d_blocks import UNetMidBlock3DCrossAttn, get_down_block
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longtake.models.nets.layers import attend, keys_values

# The keys of UNet3DConditionModel's config that shape its encoder half.
_MIRRORED = (
    "in_channels",
    "down_block_types",
    "block_out_channels",
    "layers_per_block",
    "downsample_padding",
    "mid_block_scale_factor",
    "act_fn",
    "norm_num_groups",
    "norm_eps",
    "cross_attention_dim",
    "attention_head_dim",
)


class _MergerBody(nn.Module):
    def __init__(self, channels: int, head_dim: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.attention = Attention(channels, channels, heads=channels // head_dim, dim_head=head_dim)
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)


class Merger(nn.Module):
    """Lets a feature of the base UNet attend, at each place alone, to the control feature's frames.

    P_out starts at zero: at first it changes nothing. Raises ValueError for channels that are no multiple of the head
    dimension.
    """

    def __init__(self, channels: int, head_dim: int, groups: int):
        super().__init__()
        if channels % head_dim:
            raise ValueError(
                f"merger_head_dim={head_dim} must divide every width of block_out_channels, {channels} too"
            )
        self.temporal_transformer = _MergerBody(channels, head_dim, groups)

    def forward(
        self, x: Float[Tensor, "bt c h w"], feature: Float[Tensor, "bf c h w"], frames: int, condition_frames: int
    ) -> Float[Tensor, "bt c h w"]:
        """x has `frames` frames per video, feature `condition_frames`; there is no mask and no position embedding."""
        net = self.temporal_transformer
        b, h, w = x.shape[0] // frames, x.shape[2], x.shape[3]
        q = net.norm(rearrange(x, "(b t) c h w -> b c t h w", t=frames))
        q = net.proj_in(rearrange(q, "b c t h w -> (b h w) t c"))
        kv = keys_values(net.attention, rearrange(feature, "(b f) c h w -> (b h w) f c", f=condition_frames))
        y: Tensor = net.proj_out(attend(net.attention, q, kv))
        return x + rearrange(y, "(b h w) t c -> (b t) c h w", b=b, h=h, w=w)


class ControlBranch(nn.Module):
    """The encoder half of UNet3DConditionModel, with its tensor names, and the frame encoder E_cond."""

    def __init__(self, config: dict[str, Any], conditioning_channels: int, encoder_channels: tuple[int, ...]):
        super().__init__()
        widths = tuple(config["block_out_channels"])
        groups, head_dim = config["norm_num_groups"], config["attention_head_dim"]
        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], kernel_size=3, padding=1)
        self.time_proj = Timesteps(widths[0], True, 0)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0], act_fn=config["act_fn"])
        self.transformer_in = TransformerTemporalModel(
            num_attention_heads=8, attention_head_dim=head_dim, in_channels=widths[0], norm_num_groups=groups
        )
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            widths[0], conditioning_channels, encoder_channels
        )
        shared = {
            "temb_channels": 4 * widths[0],
            "resnet_eps": config["norm_eps"],
            "resnet_act_fn": config["act_fn"],
            "resnet_groups": groups,
            "cross_attention_dim": config["cross_attention_dim"],
            "num_attention_heads": head_dim,  # diffusers calls the head dimension so, and means the dimension
        }
        self.down_blocks = nn.ModuleList(
            get_down_block(
                kind,
                num_layers=config["layers_per_block"],
                in_channels=widths[max(i - 1, 0)],
                out_channels=widths[i],
                add_downsample=i < len(widths) - 1,
                downsample_padding=config["downsample_padding"],
                **shared,
            )
            for i, kind in enumerate(config["down_block_types"])
        )
        self.mid_block = UNetMidBlock3DCrossAttn(
            in_channels=widths[-1], output_scale_factor=config["mid_block_scale_factor"], **shared
        )


class Cam(ModelMixin, ConfigMixin):
    """Control branch and mergers. The config mirrors the base UNet's; defaults are the published sizes.

    conditioning_embedding_out_channels: widths of the frame encoder; each but the first halves the resolution, so there
    is one more of them than halvings in the VAE. merger_head_dim: channels of a merger's head; it divides every width.
    """

    unet: ControlBranch

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        down_block_types: Sequence[str] = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: int | float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        conditioning_channels: int = 3,
        conditioning_embedding_out_channels: Sequence[int] = (32, 96, 256, 512),
        merger_head_dim: int = 64,
    ):
        super().__init__()
        config = {name: self.config[name] for name in _MIRRORED}
        self.unet = ControlBranch(config, conditioning_channels, tuple(conditioning_embedding_out_channels))
        last = len(block_out_channels) - 1
        skips = [block_out_channels[0]]  # the output of transformer_in
        for i, width in enumerate(block_out_channels):
            skips += [width] * (layers_per_block + (i < last))
        self.cross_attention_merger_down_blocks = nn.ModuleList(
            Merger(width, merger_head_dim, norm_num_groups) for width in skips
        )
        self.cross_attention_merger_mid_block = Merger(block_out_channels[-1], merger_head_dim, norm_num_groups)

    @property
    def scale_factor(self) -> int:
        """Pixels of a condition frame for each latent: must be the VAE's."""
        return int(2 ** (len(self.config["conditioning_embedding_out_channels"]) - 1))

    @classmethod
    def from_unet(
        cls,
        unet: UNet3DConditionModel,
        conditioning_channels: int = 3,
        conditioning_embedding_out_channels: Sequence[int] = (32, 96, 256, 512),
        merger_head_dim: int = 64,
    ) -> "Cam":
        """A Cam for `unet` whose control branch starts with the UNet's weights and which changes nothing yet."""
        net: Any = unet
        cam: Cam = cls(
            **{name: net.config[name] for name in _MIRRORED},
            conditioning_channels=conditioning_channels,
            conditioning_embedding_out_channels=conditioning_embedding_out_channels,
            merger_head_dim=merger_head_dim,
        )
        weights = net.state_dict()
        own = {name for name in cam.unet.state_dict() if not name.startswith("controlnet_cond_embedding.")}
        cam.unet.load_state_dict({name: weights[name] for name in own}, strict=False)
        return cam
