"""The prompts of a comparison: those of a text file, or the captions of conf/held_out.txt.

No training of the shipped weights drew the held-out captions, so they are fit to judge the weights.
"""

from pathlib import Path

from longtake.pipelines.ablation.settings import AblateConf
from longtake.pipelines.config.paths import CONF
from longtake.pipelines.files.text_lines import text_lines

HELD_OUT = CONF / "held_out.txt"


def held_out_captions() -> list[str]:
    """Six words each (size, colour, shape, motion, style, background) that never occur together in training."""
    return HELD_OUT.read_text("utf-8").splitlines()


def held_out_prompts(count: int) -> list[str]:
    """The first `count` captions. Raises ValueError if there are fewer."""
    captions = held_out_captions()
    if count > len(captions):
        raise ValueError(f"num_prompts={count} must be at most {len(captions)}: training used the other captions")
    return captions[:count]


def prompts_of(conf: AblateConf) -> list[str]:
    """At most `conf.num_prompts` prompts. Raises ValueError for a file without any, or too few held-out captions."""
    return (
        held_out_prompts(conf.num_prompts) if conf.prompts is None else read_prompts(conf.prompts)[: conf.num_prompts]
    )


def read_prompts(path: str) -> list[str]:
    """The lines of a text file that are not blank. Raises ValueError for a file without any."""
    try:
        with Path(path).open("rb") as file:
            lines = [line.strip() for line in text_lines(file)]
    except (OSError, ValueError) as error:
        raise ValueError(f"prompts={path} cannot be read: {error}") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise ValueError(f"prompts={path} contains no prompts")
    return prompts
