"""The place of every tensor of a checkpoint in the parts of a bundle. Pure: names and shapes in, a plan out.

checkpoint                                  bundle
unet.conv_in.weight                ------>  cam/    unet.conv_in.weight
...visual...attn.in_proj_weight    --1/3->  image_encoder/  ...self_attn.q_proj.weight, also k_proj and v_proj
image_encoder.model.logit_scale    ------>  left out, with a reason
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
SHOWN = 5  # tensors that an error names


@dataclass(frozen=True, slots=True)
class Take:
    """The source of one tensor of a bundle: a whole tensor, or a third of the rows of one, counted from 0."""

    source: str
    shape: Shape  # in the bundle
    third: int | None = None
    transposed: bool = False
    squeezed: bool = False  # the source has one more axis at the end, of length 1

    @property
    def source_shape(self) -> Shape:
        if self.third is not None:
            return (3 * self.shape[0], *self.shape[1:])
        if self.transposed:
            return self.shape[::-1]
        return (*self.shape, 1) if self.squeezed else self.shape


@dataclass(frozen=True, slots=True)
class Part:
    """A network of a bundle: its folder, the entry of model_index.json, its config.json and its tensors by name."""

    name: str
    entry: tuple[str, str]
    config: Mapping[str, Any]
    tensors: Mapping[str, Take]


def check_places(parts: Iterable[Part], shapes: Mapping[str, Shape], left_out: Iterable[str]) -> None:
    """Raises ValueError, naming up to five tensors, unless every tensor is placed or left out, with its right shape."""
    takes = {take.source: take for part in parts for take in part.tensors.values()}
    wrong = [
        *(f"{name} is missing" for name in takes.keys() - shapes.keys()),
        *(f"{name} has no place here" for name in shapes.keys() - takes.keys() - set(left_out)),
        *_misshapen(takes, shapes),
    ]
    if wrong:
        raise ValueError(summary(wrong))


def summary(wrong: Iterable[str]) -> str:
    """The first faults in order of their names, and the number of the others."""
    faults = sorted(wrong)
    more = len(faults) - SHOWN
    return "; ".join(faults[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _misshapen(takes: Mapping[str, Take], shapes: Mapping[str, Shape]) -> Iterator[str]:
    for name, take in takes.items():
        if name in shapes and shapes[name] != take.source_shape:
            yield f"{name} is {shapes[name]}, expected {take.source_shape}"


def shape_of(shapes: Mapping[str, Shape], name: str, rank: int) -> Shape:
    """The shape of a tensor that sizes a network. Raises ValueError if it is missing, empty or of another rank."""
    if name not in shapes:
        raise ValueError(f"{name} is missing")
    if len(shapes[name]) != rank or 0 in shapes[name]:
        raise ValueError(f"{name} is {shapes[name]}, expected {rank} axes that are not empty")
    return shapes[name]
