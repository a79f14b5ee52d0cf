"""CLIP scores of frames. Any CLIP of transformers can be used; that of the tiny bundle knows only its own world.

Scores are 100 times a cosine, as the paper's table has them (CLIP 31.73); higher is better. Figures of different CLIP
models are never compared. Shapes: t frames, h w rows and columns, b batch, s side of the encoder's input in pixels,
e embedding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from longtake.models.nets.image import clip_pixels, embed_pixels

BATCH = 32  # frames in one call of the image encoder


@dataclass(frozen=True, eq=False)
class Clip:
    """Two encoders with a common space: CLIPVisionModelWithProjection and CLIPTextModelWithProjection."""

    image_encoder: Any
    text_encoder: Any
    tokenizer: Any

    @torch.inference_mode()
    def text(self, prompt: str) -> Float[np.ndarray, " e"]:
        """The prompt's embedding, of length 1. A prompt that is too long for the model is cut off."""
        limit = self.text_encoder.config.max_position_embeddings
        ids = self.tokenizer(
            [prompt], padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
        ).input_ids
        embeds = self.text_encoder(input_ids=ids.to(self.text_encoder.device)).text_embeds
        return np.asarray(normalize(embeds.float(), dim=-1)[0].cpu().numpy())


class Embedder:
    """Embeds frames that come one by one. Those that wait for their batch are kept at the encoder's input size."""

    def __init__(self, clip: Clip) -> None:
        self._encoder = clip.image_encoder
        self._floats: Float[Tensor, "h w 3"] = torch.empty(0, 0, 3)
        self._waiting: list[Float[Tensor, "1 3 s s"]] = []
        self._embeds: list[Float[Tensor, "b e"]] = []

    @torch.inference_mode()
    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """The next frame."""
        # One buffer for all frames: allocating a large one per frame, between small tensors that stay, fragments the
        # heap (by 2.5 MB a frame of 640x360 with glibc, the size of its floats).
        if self._floats.shape != frame.shape:
            self._floats = torch.empty(frame.shape)
        self._floats.copy_(torch.from_numpy(np.array(frame))).div_(127.5).sub_(1)
        image = self._floats[None].permute(0, 3, 1, 2)
        self._waiting.append(clip_pixels(image, self._encoder.config.image_size))
        if len(self._waiting) == BATCH:
            self._embed()

    def finish(self) -> Float[np.ndarray, "t e"]:
        """Embeddings of length 1, one per frame; there must be at least one frame."""
        if self._waiting:
            self._embed()
        return np.asarray(normalize(torch.cat(self._embeds), dim=-1).cpu().numpy())

    @torch.inference_mode()
    def _embed(self) -> None:
        self._embeds.append(embed_pixels(self._encoder, torch.cat(self._waiting)))
        self._waiting = []


def clip_scores(embeds: Float[np.ndarray, "t e"], text: Float[np.ndarray, " e"]) -> Float[np.ndarray, " t"]:
    """100 times the cosine of each frame and the prompt. Its mean is the CLIP score."""
    return np.asarray(100 * embeds @ text)


def anchor_scores(embeds: Float[np.ndarray, "t e"]) -> Float[np.ndarray, " t-1"]:
    """100 times the cosine of each later frame and the first: the likeness to the anchor."""
    return np.asarray(100 * embeds[1:] @ embeds[0])
