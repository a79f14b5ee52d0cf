"""All that is wrong with a bundle: every part is built from its config on the meta device, so no weight is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.nets.layers import cross_attentions
from longtake.models.stages.bundle import CLASSES, load_tokenizer
from longtake.models.stages.files import REQUIRED_OF_BASE, Part, read_parts
from longtake.models.stages.part_checks import part_problems
from longtake.models.stages.weights import empty_network, tensor_problems

SHOWN = 5  # tensors of one part: if its config is wrong, all are


def bundle_problems(bundle: Path, refiner: Path | None = None, allow_pickle: bool = False) -> list[str]:
    """Every problem in one line; none for a bundle that can be used. It may be without a refiner."""
    try:
        parts = read_parts(bundle, refiner, REQUIRED_OF_BASE)
    except ValueError as error:
        return [str(error)]
    problems = part_problems(parts, allow_pickle)
    for part in parts.values():
        problems += _problems_of(part, allow_pickle)
    if {"unet", "apm"} <= set(parts):
        problems += _unmixed(parts)
    return list(dict.fromkeys(problems))


def _problems_of(part: Part, allow_pickle: bool) -> list[str]:
    try:
        config = part.config()
        if part.kind == "scheduler":
            NoiseSchedule.from_config(config)
        elif part.kind == "tokenizer":
            load_tokenizer(part)
        else:
            found = tensor_problems(CLASSES[part.class_name], config, part.folder, allow_pickle)
            more = [f"bundle part {part.folder}: {len(found) - SHOWN} more tensors are missing or of another shape"]
            return found if len(found) <= SHOWN else found[:SHOWN] + more
    except ValueError as error:
        text = str(error)
        return [text if str(part.folder) in text else f"bundle part {part.folder}: {text}"]
    except Exception as error:  # a config that its class cannot take: each library has its own errors
        return [f"bundle part {part.folder}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    return []


def _unmixed(parts: dict[str, Part]) -> Iterator[str]:
    """Cross attentions that only one of UNet and APM has."""
    try:
        with torch.device("meta"):
            net: Any = empty_network(CLASSES[parts["unet"].class_name], parts["unet"].config())
        layers, mixed = set(cross_attentions(net)), set(parts["apm"].config()["layers"])
    except Exception:  # reported as a problem of the part
        return
    if layers != mixed:
        name = min(layers ^ mixed)
        owner = "unet" if name in layers else "apm"
        yield f"apm and unet have {len(layers ^ mixed)} cross attentions that the other has not: {owner} has {name}"
