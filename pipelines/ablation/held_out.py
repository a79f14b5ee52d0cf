"""conf/held_out.txt: captions that no training of the shipped weights saw. What the weights can do is asked of them."""

from longtake.models.diffusion.noise import rng_for
from longtake.models.toy_world.world import Scene, attributes_of, sample_scene
from longtake.pipelines.config.paths import CONF

PATH = CONF / "held_out.txt"


def held_out_captions() -> list[str]:
    """Six words each (size, colour, shape, motion, style, background) that never stand together in training."""
    return PATH.read_text("utf-8").splitlines()


def held_out_scenes(count: int) -> list[Scene]:
    """A scene for each of the first captions. Raises ValueError if `count` is more than there are."""
    captions = held_out_captions()
    if count > len(captions):
        raise ValueError(f"num_prompts={count} must be at most {len(captions)}: training has seen the other captions")
    return [
        sample_scene(rng_for(0, "held-out-prompts", 0, index), **attributes_of(caption))
        for index, caption in enumerate(captions[:count])
    ]
