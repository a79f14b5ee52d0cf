"""The frozen text encoder of a training. Shapes: b captions, n tokens, d channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.nets.text import encode_text


@dataclass(frozen=True)
class Captioner:
    """The text encoder and its tokenizer."""

    tokenizer: Any
    text_encoder: Any

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "b n d"]:
        return encode_text(self.tokenizer, self.text_encoder, captions).float()
