"""The words of a prompt that a video shows: metrics of `make ablations`, on moving shapes alone."""

from dataclasses import asdict

from longtake.models.toy_world.probe import probe
from longtake.models.toy_world.world import attributes_of
from longtake.pipelines.ablation.video_maker import Frames

PROBED = ("color", "background", "motion", "shape", "size")
ENDS = {"start": slice(0, 16), "end": slice(-16, None)}


def attributes(prompt: str, frames: Frames) -> dict[str, bool]:
    """For the first and the last 16 frames: whether each attribute is the prompt's. Nothing for other prompts."""
    try:
        words = attributes_of(prompt)
    except ValueError:
        return {}
    readings = {end: asdict(probe(frames[piece])) for end, piece in ENDS.items()}
    return {f"{name}_{end}": readings[end][name] == words[name] for end in ENDS for name in PROBED}
