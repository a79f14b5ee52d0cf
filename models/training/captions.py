"""Captions in training: what is left out, and the caption-swap test that says which words a network understands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.text import encode_text
from longtake.models.toy_world.clip_stage import sample_caption
from longtake.models.toy_world.world import ATTRIBUTES, Scene


@dataclass(frozen=True)
class Captioner:
    """The frozen text encoder with its tokenizer. Shapes: b captions, n tokens, d channels."""

    tokenizer: Any
    text_encoder: Any

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "b n d"]:
        return encode_text(self.tokenizer, self.text_encoder, captions).float()


def training_captions(rng: np.random.Generator, scenes: Sequence[Scene], dropped: float) -> list[str]:
    """Captions with words left out, and now and then nothing at all, for guidance."""
    return [sample_caption(rng, scene) if rng.random() >= dropped else "" for scene in scenes]


def swap_gaps(loss: Callable[[list[str]], float], scenes: Sequence[Scene]) -> dict[str, float]:
    """Loss with one attribute of every caption swapped for another value, minus the loss with the right captions."""
    right = loss([scene.caption() for scene in scenes])
    gaps = {"loss": right}
    for name, values in ATTRIBUTES.items():
        swapped = []
        for index, scene in enumerate(scenes):
            others = [value for value in values if value != getattr(scene, name)]
            other = others[int(rng_for(0, f"swap-{name}", 0, index).integers(len(others)))]
            changes: dict[str, Any] = {name: other}
            swapped.append(replace(scene, **changes).caption())
        gaps[f"swap_{name}"] = loss(swapped) - right
    return gaps
