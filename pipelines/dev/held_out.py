"""Scenes for the captions of conf/held_out.txt, which no training of the shipped weights drew."""

from longtake.models.diffusion.noise import rng_for
from longtake.models.toy_world.world import Scene, attributes_of, sample_scene
from longtake.pipelines.ablation.prompts import held_out_prompts


def held_out_scenes(count: int) -> list[Scene]:
    """A scene for each of the first captions. Raises ValueError if `count` exceeds their number."""
    return [
        sample_scene(rng_for(0, "held-out-prompts", 0, index), **attributes_of(caption))
        for index, caption in enumerate(held_out_prompts(count))
    ]
