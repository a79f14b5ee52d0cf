"""Memory of the stages, without torch. Weights are counted; what the networks compute on the way is an estimate.

The estimate, for a UNet: the skips of all frames, and at the finest level 15 tensors as large as a feature of its first
temporal layer, most of them in the feed-forward layer (8 C and 4 C channels, beside C three times). Attention is
computed without its matrix. For the VAE: the finest level of its decoder, 2 features before and 2 after its last block.
The stages run UNet and VAE one after the other, so the larger of both counts. Allocators round up and libraries keep
buffers: take a fifth more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longtake.models.domain.plan import PlanParams
from longtake.models.stages.files import BASE_PARTS, OPENER, Part, refiner_names
from longtake.models.stages.part_checks import DEFAULTS

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DECODED_AT_ONCE = 8  # frames: FRAMES_PER_CALL of nets/latents.py, which needs torch
FINEST = 15  # tensors

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes of one stage."""

    name: str
    weights: int
    unet: int  # estimate
    vae: int  # estimate

    @property
    def total(self) -> int:
        return self.weights + max(self.unet, self.vae)


def memory_of(
    parts: Mapping[str, Part],
    parameters: Mapping[str, int],
    plan: PlanParams,
    sizes: Mapping[str, Size],
    batch: int,
    dtype: str,
) -> list[StageMemory]:
    """The stages of `parts`, whose numbers of `parameters` are known. `sizes` are those of their frames."""
    each = BYTES[dtype]
    openers = [name for name in parts if name.startswith(OPENER)]
    stages = {
        "base": ("unet", (*BASE_PARTS, *openers), plan.chunk_frames, plan.condition_frames if "cam" in parts else 0),
        "refiner": ("refiner", refiner_names(parts), plan.window_frames, 0),
    }
    found = []
    for stage, (unet, names, frames, condition_frames) in stages.items():
        if unet not in parts or stage not in sizes:
            continue
        vae = _config(parts["refiner_vae" if stage == "refiner" and "refiner_vae" in parts else "vae"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        area = sizes[stage][0] * sizes[stage][1]
        weights = sum(parameters.get(name, 0) for name in names if name in parts) * each
        computed = _unet(_config(parts[unet]), area // factor**2, frames, condition_frames) * batch * each
        found.append(StageMemory(stage, weights, computed, _decoder(vae, area) * each))
    return found


def _config(part: Part) -> dict[str, Any]:
    return {**DEFAULTS.get(part.kind, {}), **part.config()}


def _unet(config: Mapping[str, Any], area: int, frames: int, condition_frames: int) -> int:
    """Values of one prediction; `area` in latents."""
    widths = config["block_out_channels"]
    skips = widths[0] * area
    for level, width in enumerate(widths):
        skips += width * (area >> 2 * level) * config["layers_per_block"]
        skips += width * (area >> 2 * (level + 1)) if level < len(widths) - 1 else 0
    # The first temporal layer has 8 heads at any width.
    finest = FINEST * max(widths[0], 8 * config["attention_head_dim"])
    return int((frames + condition_frames) * skips + frames * finest * area)


def _decoder(config: Mapping[str, Any], area: int) -> int:
    widths = config["block_out_channels"]
    return int(DECODED_AT_ONCE * area * 2 * (widths[0] + widths[min(1, len(widths) - 1)]))
