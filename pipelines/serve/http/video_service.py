"""The layer between clients and the engine: ownership, limits on running videos, and a video's public form.

Anything slower than a look-up in memory runs in a thread: the event loop serves all other clients.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import asdict
from typing import TypeVar

from longtake.models.domain.plan import PlanParams
from longtake.pipelines.serve.engine.engine import Engine, NotReady, QueueFull
from longtake.pipelines.serve.http.errors import ApiError, not_found, unavailable
from longtake.pipelines.serve.http.request_checks import RequestChecker, seconds_of
from longtake.pipelines.serve.http.schema import (
    ClientRequest,
    ExtensionRequest,
    Input,
    PlanSizes,
    PromptAt,
    PromptChange,
    RemixRequest,
    UploadedExtension,
    Video,
    VideoCheck,
    VideoError,
    VideoRequest,
)
from longtake.pipelines.serve.http.stream_places import StreamPlaces, has_share
from longtake.pipelines.serve.http.uploads import Upload, UploadPlaces
from longtake.pipelines.serve.http.video_states import require_completed
from longtake.pipelines.serve.library.input_store import copy_input, drop_input, keep_input
from longtake.pipelines.serve.library.inputs import InputFile
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes

T = TypeVar("T")
logger = logging.getLogger(__name__)
NUM_READING = 2  # files of clients that are decoded, or copied, at once: each is in memory
Keep = Callable[[Take], None]  # writes the file that a take begins with
Submitted = tuple[Take, list[str]]  # the take, and warnings for its client


class VideoService:
    """The one service of the endpoint."""

    def __init__(self, engine: Engine, takes: Takes, checker: RequestChecker) -> None:
        self.engine, self.takes, self.checker, self.conf = engine, takes, checker, checker.conf
        self.places = StreamPlaces(self.conf.serve.max_streams)
        # For a count and the addition that follows it; and tokenizers are not thread-safe.
        self._submitting = asyncio.Lock()
        self._uploads, self._turns = UploadPlaces(self.conf.serve.max_uploads), asyncio.Semaphore(NUM_READING)
        self._discarding: set[asyncio.Task[None]] = set()

    async def create(self, request: VideoRequest, owner: str, transient: bool = False) -> Submitted:
        """Queues a video. Raises ApiError.

        A transient video belongs to one connection and is deleted when that closes early.
        """
        take = self.checker.new_take(request, owner, transient)
        if request.input_reference is None:
            return await self._submit(take, request)
        self._check_room(owner)
        async with self._reading(request.input_reference, owner) as upload:
            take, data = await asyncio.to_thread(self.checker.with_picture, take, upload)
            return await self._submit(take, request, self._keeping(data))

    async def check(self, request: VideoRequest, owner: str) -> VideoCheck:
        """What `create` would make of a request. Raises the ApiErrors that it would raise for an invalid one."""
        take = self.checker.new_take(request, owner)
        if request.input_reference is not None:
            async with self._reading(request.input_reference, owner) as upload:
                take, _ = await asyncio.to_thread(self.checker.with_picture, take, upload)
        async with self._submitting:
            found = await asyncio.to_thread(self.checker.check, take, request)
        return VideoCheck(
            unknown_words=found.unknown_words,
            warnings=[*request.warnings, *found.warnings],
            num_frames=take.num_frames,
            fps=take.fps,
            seconds=seconds_of(take.num_frames, take.fps),
            width=take.width,
            height=take.height,
            size=f"{take.width}x{take.height}",
            plan=plan_sizes(take.plan),
        )

    async def remix(self, source: Take, request: RemixRequest) -> Submitted:
        """Queues the same video with another prompt. Raises ApiError."""
        take = self.checker.remixed(source, *request.prompt)
        return await self._submit(take, request, self._copying(source))

    async def extend(self, request: ExtensionRequest, owner: str) -> Submitted:
        """Queues a longer version of a completed video. Raises ApiError."""
        source = self.find(request.video.id, owner, "video.id")
        require_completed(source, "its file", "video.id")
        take = self.checker.extension(source, request)
        return await self._submit(take, request, self._copying(source))

    async def extend_upload(self, request: UploadedExtension, owner: str) -> Submitted:
        """Queues the continuation of a video that the request has brought along. Raises ApiError."""
        take = self.checker.continuation(request, owner)
        self._check_room(owner)
        async with self._reading(request.video, owner):
            take, data = await asyncio.to_thread(self.checker.with_video, take, request)
            return await self._submit(take, request, self._keeping(data))

    async def check_prompt(self, take: Take, change: PromptChange) -> None:
        """Checks another prompt for `take`. Raises ApiError."""
        async with self._submitting:
            await asyncio.to_thread(self.checker.check_prompt, take, change)

    async def call(self, take: Take, method: Callable[[str], T]) -> T:
        """The result of a method of the engine for this take. Raises ApiError when it is gone or the endpoint stops."""
        try:
            return await asyncio.to_thread(method, take.id)
        except NoSuchTake:
            raise not_found(take.id) from None
        except NotReady:
            raise unavailable(self.engine.state) from None

    def find(self, video_id: str, owner: str, param: str | None = None) -> Take:
        """Raises ApiError for an unknown video, or one of another key."""
        try:
            take = self.takes.get(video_id)
        except NoSuchTake:
            raise not_found(video_id, param) from None
        if take.owner != owner:
            raise not_found(video_id, param)
        return take

    def discard(self, take: Take) -> None:
        """Deletes a transient video whose client has left, in the background."""
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._delete, take))
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    def _delete(self, take: Take) -> None:
        try:
            self.engine.delete(take.id)
        except (NoSuchTake, NotReady):  # an engine that stops leaves it, and the next one does not continue it
            return
        logger.info("client left id=%s", take.id)

    def video(self, take: Take, warnings: list[str] | None = None) -> Video:
        """The public form of a take. It builds no configuration: a listing has 100 of them."""
        base = self.conf.base
        base_height, base_width = self.checker.base_size(take)
        height, width = (take.input and take.input.output_size) or (take.height, take.width)
        schedule = [(0, take.prompt), *((cue.from_frame, cue.prompt) for cue in take.cues)]
        return Video(
            id=take.id,
            model=take.model,
            status=take.status.value,
            queue_position=self.engine.queue_position(take.id) if take.status is Status.QUEUED else None,
            progress=take.progress,
            created_at=take.created_at,
            completed_at=take.completed_at,
            expires_at=take.expires_at,
            prompt=take.prompt,
            size=f"{width}x{height}",
            seconds=seconds_of(take.num_frames, take.rate),
            remixed_from_video_id=take.remixed_from,
            error=VideoError(code=take.error[0], message=take.error[1]) if take.error else None,
            num_frames=take.num_frames,
            fps=take.rate.numerator if take.rate.denominator == 1 else float(take.rate),
            width=width,
            height=height,
            fit=take.fit or self.conf.refiner.fit,
            base_width=base_width,
            base_height=base_height,
            num_inference_steps=take.num_inference_steps or base.num_inference_steps,
            guidance_scale=base.guidance_scale if take.guidance_scale is None else take.guidance_scale,
            negative_prompt=take.negative_prompt,
            seed=take.seed,
            coupling=take.coupling,
            prompts=[PromptAt(from_frame=frame, prompt=text) for frame, text in schedule],
            extends_video_id=take.extends,
            input=_input(take.input),
            plan=plan_sizes(take.plan, take.shift),
            warnings=warnings or [],
        )

    @asynccontextmanager
    async def _reading(self, upload: Upload, owner: str) -> AsyncIterator[Upload]:
        """A turn for a file that a client sent, which is closed afterwards. Raises ApiError when many wait for theirs.

        Few are decoded, and in memory, at once.
        """
        with closing(upload), closing(self._uploads.take(owner)):
            async with self._turns:
                yield upload

    def _keeping(self, data: bytes) -> Keep:
        return lambda take: keep_input(self.takes.store, take, data)

    def _copying(self, source: Take) -> Keep | None:
        """None for a source that begins without a file."""
        return None if source.input is None else lambda take: copy_input(self.takes.store, source, take)

    async def _submit(self, take: Take, request: ClientRequest, keep: Keep | None = None) -> Submitted:
        """Runs to its end even if the request is cancelled: half a submission would leave a video without an owner.

        `keep` writes the file that the take begins with.
        """
        task = asyncio.create_task(self._submit_now(take, request, keep))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._discard_transient)
            raise

    async def _submit_now(self, take: Take, request: ClientRequest, keep: Keep | None) -> Submitted:
        async with self._submitting:
            found = await asyncio.to_thread(self.checker.check, take, request)
            self._check_room(take.owner)
            if keep is None:
                take = await asyncio.to_thread(self._submit_to_engine, take)
        if keep is not None:  # others need not wait for it
            take = await self._submit_with(take, keep)
        prompt = f" prompt={take.prompt!r}" if self.conf.serve.log_prompts else ""
        size = f"{take.width}x{take.height}"
        logger.info("video queued id=%s frames=%d size=%s%s", take.id, take.num_frames, size, prompt)
        return take, [*request.warnings, *found.warnings]

    async def _submit_with(self, take: Take, keep: Keep) -> Take:
        """Submits a take once its file is there: it is never without."""
        is_copy = take.remixed_from is not None or take.extends is not None  # the file of an upload has its turn
        try:
            async with self._turns if is_copy else nullcontext():
                await asyncio.to_thread(keep, take)
            async with self._submitting:
                self._check_room(take.owner)
                return await asyncio.to_thread(self._submit_to_engine, take)
        except BaseException as error:
            await asyncio.to_thread(drop_input, self.takes.store, take)
            if isinstance(error, FileNotFoundError):
                raise not_found(take.remixed_from or take.extends or take.id) from None
            raise

    def _discard_transient(self, task: "asyncio.Task[Submitted]") -> None:
        if not task.cancelled() and task.exception() is None and task.result()[0].transient:
            self.discard(task.result()[0])

    def _check_room(self, owner: str) -> None:
        """Limits the unfinished videos of each key. Without keys the queue is the only limit.

        A key has at most `max_running_per_key`, and never more than are left free for the others.
        """
        params = self.conf.serve
        owners = [take.owner for take in self.takes.all() if take.is_active]
        running, free = owners.count(owner), params.in_flight + params.max_queued - len(owners)
        if owner and (running >= params.max_running_per_key or (free > 0 and not has_share(running, 1, free))):
            message = f"This key has {running} unfinished videos, its share of this endpoint; retry in 10 s."
            raise ApiError(429, "too_many_videos", message, retry_after_s=10)

    def _submit_to_engine(self, take: Take) -> Take:
        try:
            return self.engine.submit(take)
        except NotReady:
            raise unavailable(self.engine.state) from None
        except QueueFull as error:
            raise ApiError(429, "queue_full", str(error), retry_after_s=error.retry_after_s) from None


def _input(file: InputFile | None) -> Input | None:
    """The public form of the file that a client sent."""
    if file is None:
        return None
    size = {"width": file.width, "height": file.height, "num_frames": file.num_frames}
    return Input(kind=file.kind.value, notes=[*file.notes], **size)


def plan_sizes(plan: PlanParams, shift: int = 0) -> PlanSizes:
    return PlanSizes(**asdict(plan), shift_frames=shift)
