"""Captions in training: words left out, and the caption-swap test of the words that a network understands."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from longtake.models.diffusion.noise import rng_for
from longtake.models.toy_world.clip_stage import sample_caption
from longtake.models.toy_world.world import ATTRIBUTES, Scene


def training_captions(rng: np.random.Generator, scenes: Sequence[Scene], dropped: float) -> list[str]:
    """Captions with words left out; a share `dropped` of them is empty, for guidance."""
    return [sample_caption(rng, scene) if rng.random() >= dropped else "" for scene in scenes]


def swapped_captions(scene: Scene, index: int) -> Iterator[tuple[str, str]]:
    """(attribute, caption with another value of it) for every attribute of the scene at `index` of a list."""
    for name, values in ATTRIBUTES.items():
        others = [value for value in values if value != getattr(scene, name)]
        changes: dict[str, Any] = {name: others[int(rng_for(0, f"swap-{name}", 0, index).integers(len(others)))]}
        yield name, replace(scene, **changes).caption()


def swap_gaps(loss: Callable[[list[str]], float], scenes: Sequence[Scene]) -> dict[str, float]:
    """Loss with one attribute of every caption swapped for another value, minus the loss with the right captions."""
    right = loss([scene.caption() for scene in scenes])
    swapped: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
    for index, scene in enumerate(scenes):
        for name, caption in swapped_captions(scene, index):
            swapped[name].append(caption)
    return {"loss": right} | {f"swap_{name}": loss(captions) - right for name, captions in swapped.items()}
