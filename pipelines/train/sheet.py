"""A picture of the progress of a training: continuations of held-out clips.

seen   the condition of CAM       8 frames, every other one
made   the generated frames       8 frames
true   the frames of the video    8 frames
"""

import numpy as np
import torch

from longtake.models.diffusion.sampling import NoiseSchedule
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.state import Memory
from longtake.models.nets.latents import decode_latents
from longtake.models.stages.base import BaseModel, BaseNets
from longtake.models.stages.bundle import Bundle
from longtake.models.stages.params import BaseParams
from longtake.models.training.memories import CONDITION
from longtake.models.training.memory import MemoryStage
from longtake.models.video.frames import to_float, to_uint8
from longtake.models.video.sheet import draw_sheet
from longtake.pipelines.files.encoding import png
from longtake.pipelines.train.clips import ClipFolder

CLIPS = 3  # on a sheet
EVERY = 2  # frames


def continuations(stage: MemoryStage, bundle: Bundle, clips: ClipFolder, params: BaseParams, seed: int) -> bytes:
    """A PNG: clips spread over `clips`, continued by the networks of the stage as `longtake generate` would."""
    lent = ("unet", "vae", "tokenizer", "text_encoder", "image_encoder")
    nets = BaseNets(**{name: bundle.parts[name] for name in lent}, cam=stage.cam, apm=stage.apm)
    model = BaseModel(nets, NoiseSchedule.from_config(bundle.parts["scheduler"]), params)
    sheets = []
    for row in np.unique(np.linspace(0, len(clips) - 1, CLIPS).round().astype(int)):
        clip = clips.clip(int(row))
        memory = Memory(to_float(clip["anchor_frame"][None])[0].numpy(), to_float(clip["condition"]).numpy())
        plan = Plan(24, PlanParams())
        spec = PromptSpec("sheet", clip["caption"], num_frames=24, seed=seed)
        _, chunk = model.advance(spec, plan, 1, memory)
        new = torch.from_numpy(clip["latents"]).float()[CONDITION.stop - CONDITION.start :]
        true = to_uint8(decode_latents(nets.vae, new))
        rows = {"seen": clip["condition"], "made": chunk.frames, "true": true}
        numbers = list(range(0, len(true), EVERY))
        sheets.append(draw_sheet(numbers, {name: frames[numbers] for name, frames in rows.items()}, len(numbers)))
    return png(np.concatenate(sheets))
