"""APM, the appearance preservation module: long-term memory (StreamingT2V, arXiv 2403.14773, section 4.2).

    image embedding -> k tokens; cat(text, tokens) -> Conv1d over tokens -> LayerNorm -> mixed
    context of a cross attention = text + SiLU(alpha) * mixed,   alpha = 0 at first

Tensor names are those of the published checkpoint: see `longtake.models.convert.names`.

Shapes: b batch, n text tokens, k image tokens, d text channels, e channels of the image embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet3DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longtake.models.nets.layers import cross_attentions


class Resampler(nn.Module):
    """Expands the embedding of an image to k tokens."""

    def __init__(self, embed_dim: int, hidden_dim: int, num_tokens: int, token_dim: int):
        super().__init__()
        self.num_tokens = num_tokens
        self.context_embedding = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, num_tokens * token_dim)
        )

    def forward(self, image: Float[Tensor, "b e"]) -> Float[Tensor, "b k d"]:
        tokens: Tensor = self.context_embedding(image)
        return rearrange(tokens, "b (k d) -> b k d", k=self.num_tokens)


class Mixer(nn.Module):
    """The part of one cross attention: its projection of all tokens to text tokens, and its gate."""

    def __init__(self, text_tokens: int, num_tokens: int, token_dim: int):
        super().__init__()
        # The tokens are the channels of this convolution, and it slides along the features: the published code does so.
        self.conv = nn.Conv1d(text_tokens + num_tokens, text_tokens, kernel_size=3, padding=1)
        self.conv_ln = nn.LayerNorm(token_dim)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, text: Float[Tensor, "b n d"], tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b n d"]:
        mixed: Tensor = self.conv_ln(self.conv(torch.cat([text, tokens], dim=1)))
        return text + F.silu(self.alpha) * mixed


class Apm(ModelMixin, ConfigMixin):
    """Resampler, and a Mixer for every cross attention of the base UNet, at the same name in the tree.

    layers: names of the UNet's cross attentions, as `cross_attentions` lists them. text_tokens: every text has as many.
    """

    resampler: Resampler

    @register_to_config
    def __init__(
        self,
        layers: Sequence[str],
        cross_attention_dim: int = 1024,
        image_embed_dim: int = 1024,
        hidden_dim: int = 1280,
        num_tokens: int = 16,
        text_tokens: int = 77,
    ):
        super().__init__()
        self.resampler = Resampler(image_embed_dim, hidden_dim, num_tokens, cross_attention_dim)
        for layer in layers:
            *path, leaf = layer.split(".")
            parent: nn.Module = self
            for part in path:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(leaf, Mixer(text_tokens, num_tokens, cross_attention_dim))

    @classmethod
    def from_unet(
        cls,
        unet: UNet3DConditionModel,
        image_embed_dim: int = 1024,
        hidden_dim: int = 1280,
        num_tokens: int = 16,
        text_tokens: int = 77,
    ) -> "Apm":
        """An Apm for the cross attentions of `unet`; it changes nothing yet."""
        net: Any = unet
        apm: Apm = cls(
            tuple(cross_attentions(net)),
            net.config.cross_attention_dim,
            image_embed_dim,
            hidden_dim,
            num_tokens,
            text_tokens,
        )
        return apm

    def mixer(self, layer: str) -> Mixer:
        """The Mixer of the cross attention of that name."""
        module = self.get_submodule(layer)
        assert isinstance(module, Mixer)
        return module
