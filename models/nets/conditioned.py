"""The conditioned forward pass: UNet3DConditionModel with CAM and APM. Pure functions, for training and inference.

    context = video_context(unet, apm, text, image)      once per video
    control = control_context(cam, text)                 once per video
    condition = encode_condition(cam, frames)            once per chunk
    out = denoise(unet, x, timestep, context, cam, condition, control)      every step

Guidance is a batch of 2 or 3 videos here; their common inputs (the condition) may be given once, as a batch of 1.

Shapes: b batch, t frames, f condition frames, c channels, h w rows and columns, n text tokens, d text channels,
e channels of the image embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.layers import KeysValues, Pass, cross_attentions, keys_values
from longtake.models.nets.sizes import latent_sizes


@dataclass(frozen=True)
class Context:
    """Keys and values of each cross attention, by the layer's name: constant over the steps and chunks of a video."""

    layers: Mapping[str, KeysValues]
    copies: int = 0  # further videos, each equal to the last one in `layers`

    @property
    def batch(self) -> int:
        return next(iter(self.layers.values()))[0].shape[0] + self.copies

    def last(self) -> "Context":
        """The last video alone."""
        return Context({name: (keys[-1:], values[-1:]) for name, (keys, values) in self.layers.items()})


def video_context(
    unet: UNet3DConditionModel, apm: Apm | None, text: Float[Tensor, "b n d"], image: Float[Tensor, "b e"] | None
) -> Context:
    """The context of the UNet's cross attentions: the text and, with an image, APM's mixture of both.

    text: the text encoder's last hidden state; image: the embedding of the anchor frame (for the unguided copy that of
    the all-zero image: it is not None). Raises ValueError for an image without an Apm and for a text of another length.
    """
    net: Any = unet
    if image is None:
        return Context({name: keys_values(layer, text) for name, layer in cross_attentions(net).items()})
    if apm is None:
        raise ValueError("image is given but apm is None: an image needs an Apm")
    expected = apm.config["text_tokens"]
    if text.shape[1] != expected:
        raise ValueError(f"text has {text.shape[1]} tokens; this Apm mixes exactly text_tokens={expected}")
    tokens = apm.resampler(image)
    return Context(
        {name: keys_values(layer, apm.mixer(name)(text, tokens)) for name, layer in cross_attentions(net).items()}
    )


def control_context(cam: Cam, text: Float[Tensor, "b n d"], copies: int = 0) -> Context:
    """The context of the control branch's cross attentions: the text alone (StreamingT2V, section 4.1).

    `copies` more videos have the latents, times and text of the last one: rows of guidance that differ only in the
    anchor, which this branch does not see, so it runs once for them.
    """
    return Context({name: keys_values(layer, text) for name, layer in cross_attentions(cam.unet).items()}, copies)


def encode_condition(cam: Cam, frames: Float[Tensor, "b f ch hp wp"]) -> Float[Tensor, "b f c h w"]:
    """E_cond of the condition frames, RGB in [-1, 1], hp and wp being `cam.scale_factor` times the latents' h and w.

    Raises ValueError for frames whose sides are not multiples of that.
    """
    factor = cam.scale_factor
    if frames.shape[-2] % factor or frames.shape[-1] % factor:
        raise ValueError(f"condition frames are {_size(frames)}: both sides must be multiples of {factor}")
    encoded: Tensor = cam.unet.controlnet_cond_embedding(rearrange(frames, "b f c h w -> (b f) c h w"))
    return rearrange(encoded, "(b f) c h w -> b f c h w", f=frames.shape[1])


def denoise(
    unet: UNet3DConditionModel,
    x: Float[Tensor, "b c t h w"],
    timestep: Tensor,
    context: Context,
    cam: Cam | None = None,
    condition: Float[Tensor, "_ f c2 _ _"] | None = None,
    control_context: Context | None = None,
    passes: Callable[[Tensor, int, Mapping[str, KeysValues]], Pass] = Pass,
) -> Float[Tensor, "b c t h w"]:
    """The model output for noisy latents x at `timestep` (one for all, or one for each video of the batch).

    Without cam: `unet(x, timestep, text).sample`. With cam: x's first f frames are the condition's frames in
    time; `condition` is from `encode_condition` (batch b or 1), `control_context` from the function of that name (batch
    b or 1 too).
    `passes` makes the walk over the layers, where frames are to attend to each other in another way.
    Raises ValueError for shapes that do not fit each other, naming the legal ones.
    """
    net: Any = unet
    _check_latents(net, x)
    _check_batch("context", context.batch, x)
    t = x.shape[2]
    base = passes(_time(net, timestep, x), t, context.layers)
    h, skips = _encode(net, base, x)
    mid = base.mid(net.mid_block, "mid_block", h)
    if cam is not None:
        skips, mid = _inject(cam, x, timestep, condition, control_context, skips, mid)
    h = mid
    for i, block in enumerate(net.up_blocks):
        h = base.up(block, f"up_blocks.{i}", h, skips)
    if net.conv_norm_out is not None:
        h = net.conv_act(net.conv_norm_out(h))
    out: Tensor = net.conv_out(h)
    return rearrange(out, "(b t) c h w -> b c t h w", t=t)


def _inject(
    cam: Cam,
    x: Float[Tensor, "b c t h w"],
    timestep: Tensor,
    condition: Tensor | None,
    control_context: Context | None,
    skips: list[Tensor],
    mid: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """The base UNet's skips and mid output after each has attended to the control branch's feature of its place."""
    if condition is None or control_context is None:
        raise ValueError("cam is given: it needs condition and control_context too")
    _check_condition(x, condition)
    _check_batch("control_context", control_context.batch, x)
    t, f = x.shape[2], condition.shape[1]
    distinct = x.shape[0] - control_context.copies
    first = x[:distinct, :, :f]
    branch = Pass(_time(cam.unet, timestep.reshape(-1)[:distinct], first), f, control_context.layers)
    h, features = _encode(cam.unet, branch, first, condition[:distinct])
    features = [*features, branch.mid(cam.unet.mid_block, "mid_block", h)]
    *downs, feature = (_with_copies(each, f, control_context.copies) for each in features)
    mergers = cam.cross_attention_merger_down_blocks
    merged = [merge(s, c, t, f) for merge, s, c in zip(mergers, skips, downs, strict=True)]
    return merged, cam.cross_attention_merger_mid_block(mid, feature, t, f)


def _with_copies(feature: Float[Tensor, "bf c h w"], frames: int, copies: int) -> Float[Tensor, "bf2 c h w"]:
    """The last video's frames again, `copies` times."""
    return torch.cat([feature] + [feature[-frames:]] * copies) if copies else feature


def _encode(
    net: Any, run: Pass, x: Float[Tensor, "b c t h w"], condition: Float[Tensor, "_ t c2 h w"] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Down to the middle; the skips begin with the output of transformer_in, to which the condition is added."""
    h = net.conv_in(rearrange(x, "b c t h w -> (b t) c h w"))
    h = run.temporal(net.transformer_in, h)
    if condition is not None:
        h = (rearrange(h, "(b t) c h w -> b t c h w", t=run.frames) + condition).flatten(0, 1)
    skips = [h]
    for i, block in enumerate(net.down_blocks):
        h, new = run.down(block, f"down_blocks.{i}", h)
        skips += new
    return h, skips


def _time(net: Any, timestep: Tensor, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "bt d"]:
    """The time embedding of every frame."""
    each = timestep.to(x.device).reshape(-1).expand(x.shape[0])
    emb: Tensor = net.time_embedding(net.time_proj(each).to(net.conv_in.weight.dtype))
    return torch.repeat_interleave(emb, x.shape[2], dim=0)


def _size(x: Tensor) -> str:
    return f"{x.shape[-2]}x{x.shape[-1]}"


def _check_batch(field: str, batch: int, x: Tensor) -> None:
    if batch not in (1, x.shape[0]):
        raise ValueError(f"{field} has a batch of {batch}, x of {x.shape[0]}: it must be the same, or 1")


def _check_latents(net: Any, x: Tensor) -> None:
    for side, rule in latent_sizes(type(net).__name__, net.config).broken(x.shape[-2], x.shape[-1]).items():
        raise ValueError(f"latents are {_size(x)}: their {side} {rule}")


def _check_condition(x: Tensor, condition: Tensor) -> None:
    if condition.shape[-2:] != x.shape[-2:]:
        raise ValueError(f"condition is {_size(condition)}, x is {_size(x)}: they must have the same size")
    if condition.shape[1] > x.shape[2]:
        raise ValueError(
            f"condition has {condition.shape[1]} frames, x has {x.shape[2]}: x must begin with the condition"
        )
    _check_batch("condition", condition.shape[0], x)
