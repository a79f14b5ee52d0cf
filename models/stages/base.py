"""The base model: a video chunk after chunk, each call continuing from the memory.

    chunk 0      16 frames from the text alone, or from an opener; one of them becomes the anchor
                 or a picture and 15 frames that continue it: it is the anchor, and repeated it is the last 8 frames
    chunk i > 0  16 frames from text, anchor (APM) and the last 8 frames (CAM); the first 8 repeat those and are dropped

The text of a chunk is the prompt at its first new frame: where the prompt changes, CAM and APM keep the picture.

StreamingT2V, section 4.1 and 4.2. Every call is a pure function of its arguments: `BaseModel` holds weights, and keys
and values that it could make again.
Shapes: t frames, c channels, h w latent rows and columns, H W pixel ones, r rows of guidance.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from longtake.models.diffusion.noise import noise_for
from longtake.models.diffusion.sampling import NoiseSchedule, draws_noise, guide, rows, sampler_for, to_x0
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec, chunk_prompt
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, Clip, Memory, Picture
from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.conditioned import Context, control_context, denoise, encode_condition, video_context
from longtake.models.nets.image import embed_images
from longtake.models.nets.latents import decode_latents, factor
from longtake.models.nets.sizes import frame_sizes
from longtake.models.nets.text import null_and_prompt
from longtake.models.stages.opener import Opener, fitted, memory_from
from longtake.models.stages.params import BaseParams, base_size, check_size
from longtake.models.video.fit import Fit, Size
from longtake.models.video.frames import middle, to_uint8

KEPT = 8  # texts and contexts: for so many videos that take turns on one base model


@dataclass(frozen=True, eq=False)
class BaseNets:
    """The networks of the base model. `cam` and `apm` may be missing: then chunks are independent."""

    unet: UNet3DConditionModel
    vae: AutoencoderKL
    tokenizer: Any
    text_encoder: Any
    image_encoder: Any | None = None
    cam: Cam | None = None
    apm: Apm | None = None

    def latent_shape(self, params: BaseParams) -> tuple[int, int, int]:
        """Channels, rows and columns of a frame's latent. Raises FieldError for a size beyond the networks' limits."""
        size, side = self.frame_size(params), factor(self.vae)
        return self.unet.config.in_channels, size[0] // side, size[1] // side

    def frame_size(self, params: BaseParams) -> Size:
        """Height and width of a frame. Raises FieldError for a size beyond the networks' limits."""
        config = self.unet.config
        size = base_size(params, config.sample_size, factor(self.vae))
        check_size("base", size, frame_sizes(type(self.unet).__name__, config, self.vae.config))
        return size


class BaseModel:
    """The GENERATE stage."""

    def __init__(
        self,
        nets: BaseNets,
        schedule: NoiseSchedule,
        params: BaseParams,
        opener: Opener | None = None,  # None: it opens itself
        fit: Fit = Fit.COVER,  # of the opener's frames
        purpose: str = "base",  # of its noise; an opener's noise is not that of the model that continues
    ) -> None:
        """Raises ValueError if the schedule has fewer noise levels than `params` has steps, and for an illegal size."""
        self._nets, self._schedule, self._params = nets, schedule, params
        self._opener, self._fit, self._purpose = opener, fit, purpose
        self._shape = nets.latent_shape(params)
        self._cam = nets.cam if params.cam else None
        self._apm = nets.apm if params.apm else None
        self._sampler = sampler_for(params.sampler, params.eta)
        self._timesteps = schedule.timesteps(params.num_inference_steps)
        self._null_anchor: Tensor | None = None  # the embedding of an all-zero image, once it is known
        # Once a prompt: chunk 0 reads it without the anchor, the others with it.
        self._texts = lru_cache(maxsize=KEPT)(self._encode)
        self._contexts: OrderedDict[tuple[str, str, bytes], tuple[Context, Context | None]] = OrderedDict()

    @torch.inference_mode()
    def advance(
        self, spec: PromptSpec, plan: Plan, index: int, memory: Memory | Picture | Clip | None, /
    ) -> tuple[Memory | Clip, Chunk]:
        """Chunk `index`, continued from the memory that the call for the chunk before returned.

        For chunk 0 there is none: `memory` is None, or a picture to begin with. A chunk of a video that exists is taken
        out of its clip.
        """
        new, prompt = plan.chunks[index], chunk_prompt(spec, plan, index)
        if isinstance(memory, Clip):
            return self._existing(plan, new, memory)
        if not isinstance(memory, Memory):
            images = self._opening(spec, prompt, plan, memory)
            anchor_frame = self._params.anchor_frame if memory is None else 0  # the picture
            size, num_last = self.frame_size, plan.params.condition_frames
            return memory_from(images, size, self._fit, anchor_frame, num_last), Chunk(new, to_uint8(images))
        span = Span(new.stop - plan.params.chunk_frames, new.stop)
        images = self._continued(spec, prompt, span, len(new), memory, self._purpose)
        return Memory(memory.anchor, images.numpy()[-plan.params.condition_frames :]), Chunk(new, to_uint8(images))

    def _existing(self, plan: Plan, span: Span, clip: Clip) -> tuple[Memory | Clip, Chunk]:
        """A chunk of a clip, and what goes on after it: the rest of the clip, or at its end the memory of it."""
        size, num_last = self.frame_size, plan.params.condition_frames
        chunk = Chunk(span, to_uint8(fitted(clip.of(span), size, Fit.STRETCH)))
        if span.stop < clip.span.stop:
            return clip.since(min(span.stop, clip.span.stop - num_last)), chunk
        frames = np.concatenate([clip.anchor[None], clip.frames[-num_last:]])
        return memory_from(frames, size, Fit.STRETCH, 0, num_last), chunk

    @property
    def frame_size(self) -> Size:
        """Height and width of its frames, in pixels."""
        return self._nets.frame_size(self._params)

    @property
    def takes_picture(self) -> bool:
        """Whether it can continue a picture: CAM does."""
        return self._cam is not None

    @torch.inference_mode()
    def open(
        self, spec: PromptSpec, prompt: str, plan: Plan, picture: Picture | None = None, /
    ) -> Float[Tensor, "t 3 H W"]:
        """The images of chunk 0, from the text alone: any text-to-video model can be another one's opener.

        With a picture they are the picture, and then its continuation as if it had stood still until now.
        """
        if picture is None:
            latents = self._sample(spec, plan.chunks[0], prompt, None, self._purpose)
            return decode_latents(self._nets.vae, latents)
        images = fitted(picture.frame[None], self.frame_size, self._fit)
        still = repeat(images, "1 c h w -> t c h w", t=plan.params.condition_frames)
        memory, new = Memory(images[0].numpy(), still.numpy()), plan.params.new_frames
        for start in range(0, plan.params.chunk_frames - 1, new):
            # Numbered from a time of its own: the frames that stand still would lie before frame 0.
            span = Span(start, start + plan.params.chunk_frames)
            more = self._continued(spec, prompt, span, new, memory, f"{self._purpose}-picture")
            images, still = torch.cat([images, more]), torch.cat([still, more])
            memory = Memory(memory.anchor, still[-plan.params.condition_frames :].numpy())
        return images[: plan.params.chunk_frames]

    def _opening(self, spec: PromptSpec, prompt: str, plan: Plan, picture: Picture | None) -> Float[Tensor, "t 3 H W"]:
        """The images of chunk 0 in the base model's size. A picture goes to the first model that takes one."""
        opener: Opener = self._opener or self
        if picture is not None and not opener.takes_picture:
            opener = self
        if picture is not None and not opener.takes_picture:
            raise ValueError("picture: this model has no CAM, which continues pictures, and no opener that takes one")
        if picture is not None and opener is not self and self._fit is Fit.COVER:
            picture = Picture(middle(picture.frame, self.frame_size))  # what the base model will see of it
        frames, needed = opener.open(spec, prompt, plan, picture), plan.params.chunk_frames
        if len(frames) < needed:
            raise ValueError(f"opener: it made {len(frames)} frames, and the first chunk has {needed}")
        return fitted(frames[:needed], self.frame_size, self._fit)

    def _continued(
        self, spec: PromptSpec, prompt: str, span: Span, num_new: int, memory: Memory, purpose: str
    ) -> Float[Tensor, "t 3 H W"]:
        """The last `num_new` images of `span`: those before them repeat the memory's."""
        latents = self._sample(spec, span, prompt, memory, purpose)
        return decode_latents(self._nets.vae, latents[len(span) - num_new :])

    def _sample(
        self, spec: PromptSpec, span: Span, prompt: str, memory: Memory | None, purpose: str
    ) -> Float[Tensor, "t c h w"]:
        unet, params = self._nets.unet, self._params
        context, control = self._context(prompt, spec.negative_prompt, memory)
        text_scale = self._text_scale(spec.negative_prompt, memory)
        condition = None
        if self._cam is not None and memory is not None:
            last = _images(memory.last)[None]
            condition = encode_condition(self._cam, last.to(unet.device, unet.dtype))
        cam = None if condition is None else self._cam
        # Frames that two chunks share have the same noise in both: the later one starts where the earlier one did.
        x, history = torch.from_numpy(noise_for(spec.seed, f"{purpose}-start", 0, span, self._shape)), None
        guided_steps = params.guided_steps(len(self._timesteps))
        for step, timestep in enumerate(self._timesteps):
            if step == guided_steps:
                context, control, text_scale = context.last(), control and control.last(), 1.0
            batch = repeat(x, "t c h w -> r c t h w", r=context.batch).to(unet.device, unet.dtype)
            output = denoise(unet, batch, torch.tensor(round(timestep)), context, cam, condition, control)
            outputs = rearrange(output.float().cpu(), "r c t h w -> r t c h w")
            anchor_scale = params.anchor_guidance_scale if context.batch == 3 else None
            guided = guide(outputs, text_scale, anchor_scale, params.guidance_rescale)
            x0 = to_x0(self._schedule, guided, x, timestep)
            draws = draws_noise(params.sampler, params.eta)
            fresh = noise_for(spec.seed, purpose, step, span, self._shape) if draws else None
            noise = torch.zeros_like(x) if fresh is None else torch.from_numpy(fresh)
            x, history = self._sampler(self._schedule, self._timesteps, step, x, x0, history, noise)
        return x

    def _text_scale(self, negative_prompt: str, memory: Memory | None) -> float:
        """The weight of guidance: a continuation needs the text less than a beginning."""
        begins, continued = self._params.guidance_scale, self._params.continuation_guidance_scale
        return begins if memory is None or (negative_prompt and continued == 1) else continued

    def _context(self, prompt: str, negative_prompt: str, memory: Memory | None) -> tuple[Context, Context | None]:
        """Keys and values for the rows of guidance, of the UNet and of CAM: constant while the prompt stays."""
        key = (prompt, negative_prompt, b"" if memory is None else memory.anchor.tobytes())
        if key not in self._contexts:
            self._contexts[key] = self._new_context(prompt, negative_prompt, memory)
            while len(self._contexts) > KEPT:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)  # evict the least recently used
        return self._contexts[key]

    def _new_context(self, prompt: str, negative_prompt: str, memory: Memory | None) -> tuple[Context, Context | None]:
        nets, params = self._nets, self._params
        texts = self._texts(prompt, negative_prompt)
        null, own = texts[:1], texts[1:]
        text_scale = self._text_scale(negative_prompt, memory)
        if memory is None or self._apm is None:
            text = torch.cat([null, own])[2 - rows(text_scale) :]
            context = video_context(nets.unet, None, text, None)
        else:
            count = rows(text_scale, params.anchor_guidance_scale)
            text = torch.cat({1: [own], 2: [null, own], 3: [null, own, own]}[count])
            context = video_context(nets.unet, self._apm, text, self._anchors(memory, count))
        if self._cam is None or memory is None:
            return context, None
        return context, control_context(self._cam, text[:2], copies=len(text[2:]))

    def _encode(self, prompt: str, negative_prompt: str) -> Float[Tensor, "2 n d"]:
        nets = self._nets
        texts = null_and_prompt(nets.tokenizer, nets.text_encoder, negative_prompt, prompt)
        return texts.to(nets.unet.device, nets.unet.dtype)

    def _anchors(self, memory: Memory, count: int) -> Float[Tensor, "r e"]:
        """The anchor's embedding for the last row of guidance, that of an all-zero image (mid grey) for the others."""
        anchor = _images(memory.anchor[None])
        if self._null_anchor is None:
            self._null_anchor = embed_images(self._nets.image_encoder, torch.zeros_like(anchor))
        own = embed_images(self._nets.image_encoder, anchor)
        embeds = torch.cat([self._null_anchor] * (count - 1) + [own])
        return embeds.to(self._nets.unet.device, self._nets.unet.dtype)


def _images(array: Float[np.ndarray, "t c h w"]) -> Float[Tensor, "t c h w"]:
    """A copy with the channels last in memory, as the VAE leaves them.

    Convolutions round by the layout (1e-5 in CAM's features), and a file gives the memory back in another one than a
    call: without this a resumed video would differ in last bits.
    """
    return torch.from_numpy(np.array(array, order="C")).contiguous(memory_format=torch.channels_last)
