"""Streaming refinement: a window of low-resolution frames becomes high-resolution frames, cell after cell of a grid.

    cell (k, s), s = 0..S
    s = 0:  x = encode(fit(frames of window k)), noised to the first timestep with the frames' shared noise
    s > 0:  x0 = own prediction of step s-1, on the overlaps blended with the neighbours' predictions of step s-1
            x, history = sampler(x, x0, history, the frames' shared noise of step s-1)
    s < S:  predict x0 at step s; its first and last overlap frames are the boundaries that the neighbours ask for
    s = S:  decode the segment, and add the black bars of refiner.fit=contain

In symmetric coupling the overlapping frames of two windows stay equal bit for bit: they start equal, both windows blend
the same predictions at the same cut, and the update is pointwise with the same noise. That makes the grid the update of
one latent over the whole video. So it stays where the prompt changes: a frame has the prompt of its chunk in both.

A Refiner holds networks and no state: `advance` is a function of its arguments. Latents between networks
are float32 on the CPU, so neither device nor precision of the networks enters into sampling and blending.
Shapes: t frames, s steps, o overlap frames, c channels, h w latent rows and columns, H W pixel rows and columns.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longtake.models.diffusion.blending import composite
from longtake.models.diffusion.noise import cut_for, noise_for
from longtake.models.diffusion.sampling import NoiseSchedule, draws_noise, sampler_for, start, to_x0
from longtake.models.domain.plan import Plan
from longtake.models.domain.prompt import PromptSpec, chunk_prompt
from longtake.models.domain.scheduler import Coupling
from longtake.models.domain.span import Span
from longtake.models.domain.state import Boundary, Chunk, HeldFrames, Segment, WindowState
from longtake.models.nets.sizes import SizeRule
from longtake.models.stages.params import RefinerParams
from longtake.models.video.fit import picture_size
from longtake.models.video.frames import add_bars, check_finite, fit_frames

KEPT = 2  # encoded frames of videos that are continued: each task of their first window needs them


@runtime_checkable  # for beartype
class RefinerNets(Protocol):
    """The networks that a Refiner drives: float32 tensors on the CPU come in and go out, one window, no batch axis.

    Each method is a pure function of its arguments and changes none of them. Constants of a video (the text, its keys
    and values) may be cached by the prompts.
    """

    sizes: SizeRule  # of the images

    def encode(self, images: Float[Tensor, "t 3 H W"], /) -> Float[Tensor, "t c h w"]:
        """Latents (scaled as the UNet expects them, without drawing from the posterior) of RGB images in [-1, 1].

        The Refiner calls it with one frame at a time: so a frame's latent has the same bits in both of its windows.
        """
        ...

    def predict(
        self, x: Float[Tensor, "t c h w"], timestep: int, prompt: str, negative_prompt: str, /
    ) -> Float[Tensor, "t c h w"]:
        """The UNet's output after guidance (prompt against negative prompt), in the schedule's kind of prediction."""
        ...

    def decode(self, latents: Float[Tensor, "t c h w"], /) -> UInt8[np.ndarray, "t H W 3"]:
        """RGB frames."""
        ...


class Refiner:
    """The REFINE stage."""

    def __init__(self, nets: RefinerNets, schedule: NoiseSchedule, params: RefinerParams) -> None:
        """Raises ValueError if the schedule has fewer noise levels than `params` has steps."""
        self._nets, self._schedule, self._params = nets, schedule, params
        self._sampler = sampler_for(params.sampler, params.eta)
        self._timesteps = schedule.timesteps(params.num_inference_steps, params.strength)
        self._held: OrderedDict[bytes, Boundary] = OrderedDict()

    @torch.inference_mode()
    def advance(
        self,
        spec: PromptSpec,
        plan: Plan,
        window: int,
        steps: Span,
        state: WindowState | None,
        /,
        *inputs: Chunk | Boundary | HeldFrames,
    ) -> tuple[WindowState | None, Boundary | Segment]:
        """Runs the cells `steps` of a window. `state` is None before step 0; `inputs`, in any order, are

        - the window's Chunks, when `steps` begins at 0, and
        - the Boundaries of the neighbours that it blends with, from step `steps.start - 1` to `steps.stop - 2`, or the
          HeldFrames of an existing video in place of those of the window before.

        The last cell gives (None, Segment) and is a call of its own, all others (WindowState, Boundary).
        """
        x, history, x0 = self._begin(spec, plan, window, inputs) if state is None else _unpack(state)
        assert (state is None) == (steps.start == 0), (
            f"window {window}: {steps} needs a state exactly if it begins after step 0"
        )
        boundaries = [value for value in inputs if isinstance(value, Boundary)]
        boundaries += [self._boundary_of(value) for value in inputs if isinstance(value, HeldFrames)]
        predictions = []
        for step in steps:
            if x0 is not None:
                x0 = self._blend(spec, plan, window, step - 1, x0, boundaries)
                draws = draws_noise(self._params.sampler, self._params.eta)
                noise = self._noise(spec, plan, window, "refine", step - 1, x) if draws else torch.zeros_like(x)
                x, history = self._sampler(self._schedule, self._timesteps, step - 1, x, x0, history, noise)
            if step == len(self._timesteps):
                return None, self._segment(plan, window, x)
            timestep = self._timesteps[step]
            x0 = to_x0(self._schedule, self._predict(spec, plan, window, round(timestep), x), x, timestep)
            check_finite(x0)  # its neighbours would blend it
            predictions.append(x0)
        assert x0 is not None, f"no step to run in {steps}"
        carry = WindowState(x.numpy(), None if history is None else history.numpy(), x0.numpy())
        return carry, self._boundary(plan, window, steps, predictions)

    def _begin(
        self, spec: PromptSpec, plan: Plan, window: int, inputs: Sequence[Chunk | Boundary | HeldFrames]
    ) -> tuple[Float[Tensor, "t c h w"], None, None]:
        """(x, history, x0) before the first step: there is no prediction and no history yet."""
        frames = frames_of(plan.windows[window], [value for value in inputs if isinstance(value, Chunk)])
        z = self._encode(frames)
        noise = self._noise(spec, plan, window, "refine-start", 0, z)
        return start(self._schedule, self._timesteps, z, noise), None, None

    def _boundary_of(self, held: HeldFrames) -> Boundary:
        """Frames that exist as the predictions of a neighbour that never changes its mind."""
        key = sha256(held.frames.tobytes()).digest()
        if key not in self._held:
            z, steps = self._encode(held.frames).numpy(), Span(0, len(self._timesteps))
            self._held[key] = Boundary(held.window, steps, None, np.broadcast_to(z, (len(steps), *z.shape)))
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return replace(self._held[key], window=held.window)

    def _encode(self, frames: UInt8[np.ndarray, "t H0 W0 3"]) -> Float[Tensor, "t c h w"]:
        params, source = self._params, (frames.shape[1], frames.shape[2])
        height, width = picture_size(source, params.size, params.fit, self._nets.sizes.within)
        return torch.cat([self._nets.encode(fit_frames(frame[None], height, width, params.fit)) for frame in frames])

    def _predict(
        self, spec: PromptSpec, plan: Plan, window: int, timestep: int, x: Float[Tensor, "t c h w"]
    ) -> Float[Tensor, "t c h w"]:
        """The networks' prediction, for each frame under the prompt of its chunk.

        The networks take one prompt for a whole window, so a window with three prompts costs three predictions.
        """
        prompts = [chunk_prompt(spec, plan, plan.chunk_at(frame)) for frame in plan.windows[window]]
        under = {
            prompt: self._nets.predict(x, timestep, prompt, spec.negative_prompt) for prompt in dict.fromkeys(prompts)
        }
        if len(under) == 1:
            return under[prompts[0]]
        return torch.stack([under[prompt][i] for i, prompt in enumerate(prompts)])

    def _blend(
        self,
        spec: PromptSpec,
        plan: Plan,
        window: int,
        step: int,
        x0: Float[Tensor, "t c h w"],
        boundaries: Sequence[Boundary],
    ) -> Float[Tensor, "t c h w"]:
        """The window's prediction of `step`, with its neighbours' on the overlaps. A seam is named by its left one."""
        if not self._params.blending:
            return x0
        left = right = None
        cut_left = cut_right = 0
        if window > 0:
            left = _find(boundaries, window - 1, step)[1]
            fixed = len(left) - plan.params.overlap_frames  # of a neighbour that reaches further: HeldFrames
            cut_left = fixed + cut_for(spec.seed, window - 1, step, plan.params.overlap_frames)
        if self._params.coupling is Coupling.SYMMETRIC and window + 1 < len(plan.windows):
            right = _find(boundaries, window + 1, step)[0]
            cut_right = cut_for(spec.seed, window, step, plan.params.overlap_frames)
        return composite(x0, left, right, cut_left, cut_right)

    def _noise(
        self, spec: PromptSpec, plan: Plan, window: int, purpose: str, step: int, like: Float[Tensor, "t c h w"]
    ) -> Float[Tensor, "t c h w"]:
        own = "" if self._params.shared_noise else f"/window {window}"
        return torch.from_numpy(noise_for(spec.seed, purpose + own, step, plan.windows[window], tuple(like.shape[1:])))

    def _boundary(self, plan: Plan, window: int, steps: Span, predictions: Sequence[Tensor]) -> Boundary:
        overlap = plan.params.overlap_frames
        first = torch.stack([x0[:overlap] for x0 in predictions]).numpy()
        last = torch.stack([x0[len(x0) - overlap :] for x0 in predictions]).numpy()
        return Boundary(window, steps, first if self._params.coupling is Coupling.SYMMETRIC else None, last)

    def _segment(self, plan: Plan, window: int, latents: Float[Tensor, "t c h w"]) -> Segment:
        segment, origin = plan.segments[window], plan.windows[window].start
        frames = self._nets.decode(latents[segment.start - origin : segment.stop - origin])
        return Segment(segment, add_bars(frames, *self._params.size))


def frames_of(span: Span, chunks: Sequence[Chunk]) -> UInt8[np.ndarray, "t h w c"]:
    """The frames of a window out of the chunks that cover it, which come in any order and may reach beyond it."""
    ordered = sorted(chunks, key=lambda chunk: chunk.span.start)
    covered = [frame for chunk in ordered for frame in chunk.span]
    first = ordered[0].span.start if ordered else 0
    contiguous = covered == list(range(first, first + len(covered)))
    assert contiguous and set(span) <= set(covered), f"chunks do not cover {span}"
    return np.concatenate([chunk.frames for chunk in ordered])[span.start - first : span.stop - first]


def _find(
    boundaries: Sequence[Boundary], window: int, step: int
) -> tuple[Float[Tensor, "o c h w"] | None, Float[Tensor, "o c h w"]]:
    """The predictions of `window` at `step`, on its first and on its last frames."""
    for boundary in boundaries:
        if boundary.window == window and step in boundary.steps:
            place = step - boundary.steps.start
            return None if boundary.first is None else _tensor(boundary.first[place]), _tensor(boundary.last[place])
    raise AssertionError(f"no boundary of window {window} for step {step}")


def _unpack(
    state: WindowState,
) -> tuple[Float[Tensor, "t c h w"], Float[Tensor, "t c h w"] | None, Float[Tensor, "t c h w"]]:
    return _tensor(state.x), None if state.history is None else _tensor(state.history), _tensor(state.x0)


def _tensor(array: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    # A copy: arrays from an object store are read-only, and torch warns about them.
    return torch.from_numpy(np.array(array))
