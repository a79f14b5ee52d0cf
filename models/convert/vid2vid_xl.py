"""MS-Vid2Vid-XL's checkpoint, non_ema_0035000.pth, as the refiner of a bundle. All sizes follow from the shapes."""

from collections.abc import Mapping
from typing import Any

import torch

from longtake.models.convert.names import refiner_name
from longtake.models.convert.placement import Part, Shape, Take, shape_of, summary
from longtake.models.convert.streaming_t2v import config_of
from longtake.models.nets.vid2vid import Vid2VidUNet

LEVELS = 4
SCHEDULE: dict[str, Any] = {
    "_class_name": "DPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "logsnr_cosine_interp",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "fast_steps": True,
}
# What the published system does (shared facts: METHOD.md, B4), as settings.
DEFAULTS: dict[str, Any] = {
    "refiner.num_inference_steps": 30,
    "refiner.strength": 0.6,
    "refiner.sampler": "dpmpp_2m_sde",
    "refiner.guidance_scale": 7.5,
    "refiner.guidance_rescale": 0.2,
    "refiner.width": 1280,
    "refiner.height": 720,
}


def refiner_part(shapes: Mapping[str, Shape]) -> Part:
    """The refiner. Raises ValueError, naming up to five tensors, for names or shapes of another network."""
    sources = _sources(shapes)
    with torch.device("meta"):
        unet: Any = Vid2VidUNet(**_config(shapes))
    takes = {}
    for key, tensor in unet.state_dict().items():
        shape = tuple(tensor.shape)
        temporal = ".temp_attentions." in key or key.startswith("transformer_in.")
        convolution = temporal and key.endswith(("proj_in.weight", "proj_out.weight"))
        takes[key] = Take(sources.get(key, f"the tensor for {key}"), shape, squeezed=convolution)
    return Part("refiner", ("longtake", Vid2VidUNet.__name__), config_of(unet), takes)


def _sources(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The name in the checkpoint of each tensor of the bundle."""
    sources, unknown = {}, []
    for name in shapes:
        try:
            sources[refiner_name(name)] = name
        except ValueError:
            unknown.append(f"{name} has no place here")
    if unknown:
        raise ValueError(summary(unknown))
    return sources


def _config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    width, channels, _, _ = shape_of(shapes, "input_blocks.0.0.weight", 4)
    inner = shape_of(shapes, "input_blocks.0.1.proj_in.weight", 3)[0]
    deeper = [shape_of(shapes, f"input_blocks.{3 * i + 1}.0.in_layers.2.weight", 4)[0] for i in range(1, LEVELS)]
    return {
        "in_channels": channels,
        "out_channels": shape_of(shapes, "out.2.weight", 4)[0],
        "block_out_channels": (width, *deeper),
        "cross_attention_dim": shape_of(shapes, "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 2)[1],
        "attention_head_dim": inner // 8,  # the transformer at the entry has 8 heads
    }
