"""Between clients and the engine: who may see which video, what may be asked now, and what a video looks like outside.

What may take longer than a look into memory happens in a thread: the event loop serves all the other clients.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TypeVar

from longtake.models.domain.plan import PlanParams
from longtake.pipelines.serve.engine.engine import Engine, NotReady, QueueFull
from longtake.pipelines.serve.http.errors import ApiError, not_found
from longtake.pipelines.serve.http.request_checks import Checker, base_of, seconds_of, with_only
from longtake.pipelines.serve.http.schema import (
    Cut,
    ExtensionRequest,
    PromptAt,
    RemixRequest,
    Video,
    VideoError,
    VideoRequest,
)
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes

T = TypeVar("T")
logger = logging.getLogger(__name__)
Submitted = tuple[Take, list[str]]  # and what its client should know of it


class Desk:
    """One for the endpoint."""

    def __init__(self, engine: Engine, takes: Takes, checker: Checker) -> None:
        self.engine, self.takes, self.checker, self.conf = engine, takes, checker, checker.conf
        self.num_streams = 0  # connections that stay
        self._one_by_one = asyncio.Lock()  # who counts may add; and a tokenizer is for one thread at a time
        self._leaving: set[asyncio.Task[None]] = set()

    async def create(self, request: VideoRequest, owner: str, transient: bool = False) -> Submitted:
        """Puts a video into the queue. Raises ApiError.

        A transient one is for this client alone: it goes when the client does.
        """
        take = self.checker.take(request, owner, transient)
        return await self._submit(take, lambda: self.engine.submit(take))

    async def remix(self, source: Take, request: RemixRequest) -> Submitted:
        """The same with another prompt. Raises ApiError."""
        take = self.checker.remixed(source, *request.prompt)
        return await self._submit(take, lambda: self.engine.submit(take))

    async def extend(self, request: ExtensionRequest, owner: str) -> Submitted:
        """More of a completed video. Raises ApiError."""
        source = self.find(request.video.id, owner, "video.id")
        if source.status is not Status.COMPLETED:
            raise ApiError(409, "video_not_ready", f"Video {source.id} is {source.status}, not completed.", "video.id")
        take = self.checker.extension(source, request)
        more = take.num_frames - source.num_frames
        return await self._submit(take, lambda: self.engine.extend(source, request.prompt, more))

    async def check_prompt(self, take: Take, prompt: str) -> None:
        """Whether it may become a prompt of `take`. Raises ApiError."""
        async with self._one_by_one:
            await asyncio.to_thread(self.checker.check, with_only(take, prompt))

    async def ask(self, take: Take, call: Callable[[str], T]) -> T:
        """What the engine's `call` of its id gives. Raises ApiError when it is gone, or the endpoint stops."""
        try:
            return await asyncio.to_thread(call, take.id)
        except NoSuchTake:
            raise not_found(take.id) from None
        except NotReady:
            raise unavailable(self.engine.state) from None

    def find(self, video_id: str, owner: str, param: str | None = None) -> Take:
        """Raises ApiError for a video that is not there, or another key's."""
        try:
            take = self.takes.get(video_id)
        except NoSuchTake:
            raise not_found(video_id, param) from None
        if take.owner != owner:
            raise not_found(video_id, param)
        return take

    def leave(self, take: Take) -> None:
        """The one client of a transient video has gone: so does the video. It waits for nothing."""
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._remove, take))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _remove(self, take: Take) -> None:
        try:
            self.engine.delete(take.id)
        except (NoSuchTake, NotReady):  # of a stopped engine the next one does not go on with it
            return
        logger.info("client left id=%s", take.id)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Counts a connection that stays. Raises ApiError when there are too many."""
        limit = self.conf.serve.max_streams
        if self.num_streams >= limit:
            raise ApiError(429, "too_many_streams", f"{limit} streams are open already.", retry_after_s=5)
        self.num_streams += 1
        try:
            yield
        finally:
            self.num_streams -= 1

    def video(self, take: Take, warnings: list[str] | None = None) -> Video:
        """What a client sees of it."""
        steps, guidance = base_of(self.conf, take.settings)
        schedule = [(0, take.prompt), *((cue.from_frame, cue.prompt) for cue in take.cues)]
        return Video(
            id=take.id,
            model=take.model,
            status=take.status.value,
            progress=take.progress,
            created_at=take.created_at,
            completed_at=take.completed_at,
            expires_at=take.expires_at,
            prompt=take.prompt,
            size=f"{take.width}x{take.height}",
            seconds=seconds_of(take.num_frames, take.fps),
            remixed_from_video_id=take.remixed_from,
            error=VideoError(code=take.error[0], message=take.error[1]) if take.error else None,
            num_frames=take.num_frames,
            fps=take.fps,
            width=take.width,
            height=take.height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            negative_prompt=take.negative_prompt,
            seed=take.seed,
            coupling=take.coupling,
            prompts=[PromptAt(from_frame=frame, prompt=text) for frame, text in schedule],
            extends_video_id=take.extends,
            plan=cut_of(take.plan),
            warnings=warnings or [],
        )

    async def _submit(self, take: Take, ask: Callable[[], Take]) -> Submitted:
        """To its end also when the request is cancelled: half a submission would belong to nobody."""
        task = asyncio.create_task(self._submit_now(take, ask))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._nobody_waits)
            raise

    async def _submit_now(self, take: Take, ask: Callable[[], Take]) -> Submitted:
        async with self._one_by_one:
            warnings = await asyncio.to_thread(self.checker.check, take)
            self._check_room(take.owner)
            take = await asyncio.to_thread(self._ask_engine, ask)
        prompt = f" prompt={take.prompt!r}" if self.conf.serve.log_prompts else ""
        size = f"{take.width}x{take.height}"
        logger.info("video asked id=%s frames=%d size=%s%s", take.id, take.num_frames, size, prompt)
        return take, warnings

    def _nobody_waits(self, task: "asyncio.Task[Submitted]") -> None:
        if not task.cancelled() and task.exception() is None and task.result()[0].transient:
            self.leave(task.result()[0])

    def _check_room(self, owner: str) -> None:
        """Where there are keys, each may have so many videos in work; where there are none, the queue is the bound."""
        limit = self.conf.serve.max_running_per_key
        running = sum(take.is_active and take.owner == owner for take in self.takes.all())
        if owner and running >= limit:
            raise ApiError(429, "too_many_videos", f"{running} videos of this key are in work.", retry_after_s=10)

    def _ask_engine(self, ask: Callable[[], Take]) -> Take:
        try:
            return ask()
        except NotReady:
            raise unavailable(self.engine.state) from None
        except QueueFull as error:
            message = "As many videos wait as may wait."
            raise ApiError(429, "queue_full", message, retry_after_s=error.retry_after_s) from None


def cut_of(plan: PlanParams) -> Cut:
    return Cut(**asdict(plan))


def unavailable(state: str) -> ApiError:
    return ApiError(503, "service_unavailable", f"The endpoint is not ready: {state}.", retry_after_s=5)
