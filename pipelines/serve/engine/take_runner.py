"""Takes on the pools of the endpoint: a take goes in, its files come out. All of it runs in the engine's thread.

   take ──► list files, copy or nothing ──► VideoDriver ──► chunks, boundaries, segments ──► files ──► finish
            writer actors                   base, refiner actors                             writer actors

1. Files of a take that exist are read, not made again, both after a restart and after a loss.
2. A take that cannot be made or written fails without affecting the others.
3. The files of a take are removed once no writer is working on it.
4. A take is in progress from its first call on, and not before: until then, other takes may have all the actors.
5. A call of a take that has ended gets `serve.cancel_grace_s` to end; then its actor is killed and restarted. In a
   bulk job such a call runs to its end: nobody is waiting, and restarting an actor takes longer than most calls.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import ray
from ray.exceptions import RayError

from longtake.actors.pool import Pool, reason
from longtake.models.domain.scheduler import StageName
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.files.piece_writer import EncodingError, UnreadableInput
from longtake.pipelines.runners.driver import VideoDriver
from longtake.pipelines.runners.existing_video import for_extension
from longtake.pipelines.runners.ray_runner import SegmentFinal, TaskDone
from longtake.pipelines.runners.writer_queue import JobResult, WriterJob
from longtake.pipelines.serve.engine.call_queue import NotYet
from longtake.pipelines.serve.engine.results import NOT_WRITTEN, OTHER_SETTINGS, Error, not_made
from longtake.pipelines.serve.engine.take_in_progress import TakeInProgress
from longtake.pipelines.serve.library.events import EventLog
from longtake.pipelines.serve.library.paths import chunk_name
from longtake.pipelines.serve.library.resume_plan import inherited, made_with, shape_of
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes, with_prompts
from longtake.pipelines.serve.settings import ServeConf

logger = logging.getLogger(__name__)
WAITING_SEGMENTS = 16

End = Callable[[Take, Error | None], None]


class TakeRunner(VideoDriver[TakeInProgress]):
    """Calls `end` when a take is completed or has failed, and then forgets it."""

    segment_method = "keep_fragment"

    def __init__(self, conf: ServeConf, pools: Mapping[str, Pool], bundle_sha256: str, takes: Takes, end: End) -> None:
        super().__init__(conf, pools, WAITING_SEGMENTS)
        self._conf, self._bundle_sha256, self._takes, self._end = conf, bundle_sha256, takes, end
        self._to_remove: set[str] = set()  # takes whose files are to be removed
        self.waiting: list[str] = []  # takes without a call so far, in order

    @property
    def num_takes(self) -> int:
        return len(self._videos)

    @property
    def is_idle(self) -> bool:
        """Whether no call is running and no actor is restarting."""
        return not self._calls and not any(pool.proofs for pool in self._pools.values())

    @property
    def is_settled(self) -> bool:
        """Whether no call runs, and nothing waits for a writer."""
        return not self._calls and not self._jobs.busy and not self._to_remove

    def __contains__(self, take_id: str) -> bool:
        return take_id in self._videos

    def gauges(self) -> dict[str, float]:
        calls = {f"{name}_calls": self._calls.running(pool) for name, pool in self._pools.items()}
        waiting = {"waiting_frames": self._waiting_frames, "waiting_fragments": self._waiting_segments}
        return {name: float(count) for name, count in (calls | waiting).items()}

    def begin(self, take: Take, events: EventLog) -> None:
        """Starts or resumes a take."""
        try:
            conf = for_video(self._conf, take.spec.settings)
            if take.extension is not None:
                for_extension(conf)
            origin = made_with(conf, self._bundle_sha256)
            video = TakeInProgress(replace(take, made_with=origin, plan=conf.plan), conf, events)
        except ValueError as error:
            return self._end(take, not_made(str(error)))
        if take.made_with not in ("", origin):
            return self._end(take, OTHER_SETTINGS)
        self._videos[take.id] = video
        if take.started_at is None:
            self.waiting.append(take.id)
        elif not self._set_in_progress(video):
            return
        self._list_files(video)

    def stop(self, take_id: str) -> Take:
        """Ends the work on a take: rule 5."""
        take = self._videos[take_id].take
        self._forget(take_id)
        if take_id in self.waiting:
            self.waiting.remove(take_id)
        self._calls.give_up(lambda subject: subject.video_id == take_id, self._conf.serve.cancel_grace_s)
        return take

    def remove(self, take_id: str) -> None:
        """Removes the files of a take that is not in progress."""
        self._to_remove.add(take_id)

    def change_prompt(self, take_id: str, prompt: str) -> int:
        """Returns the frame from which the prompt holds. Raises ValueError when none is left, and NotYet while its
        files are unknown."""
        video, runner = self._videos[take_id], self._runner
        if not video.files_known:
            raise NotYet
        try:
            runner.spec(take_id)
        except ValueError:  # not submitted yet, or already done
            frame = video.change_prompt(prompt)
        else:
            frame = runner.change_prompt(take_id, prompt)
            video.take = with_prompts(video.take, runner.spec(take_id))
        # Written before any call carries it: if the take restarts, it has the same frames.
        frame -= video.take.shift
        if self._save(video):
            video.events.append("prompt", from_frame=frame, prompt=prompt)
        return frame

    def hand_out(self, tasks: bool = True) -> None:
        """Starts what can be started; without `tasks`, only jobs of the writers."""
        writing = {subject.video_id for subject in self._calls.subjects(self._writer)} if self._to_remove else set()
        for take_id in self._to_remove - writing:
            self._to_remove.discard(take_id)
            self._jobs.put(WriterJob("remove", (take_id,)))
        super().hand_out(tasks)
        self._note_first_calls()

    def _note_first_calls(self) -> None:
        """Rule 4."""
        if not self.waiting:
            return
        called = {subject.video_id for pool in self._pools.values() for subject in self._calls.subjects(pool)}
        for take_id in [take_id for take_id in self.waiting if take_id in called]:
            self.waiting.remove(take_id)
            self._set_in_progress(self._videos[take_id])

    def _set_in_progress(self, video: TakeInProgress) -> bool:
        """Whether its record could be written."""
        started_at = video.take.started_at or int(time.time())
        video.take = replace(video.take, status=Status.IN_PROGRESS, started_at=started_at)
        if saved := self._save(video):
            video.events.append("status", status=Status.IN_PROGRESS.value)
        return saved

    def _chunk_file(self, video: TakeInProgress, index: int) -> str | None:
        return video.chunk_path(index)

    def _chunk_unreadable(self, video: TakeInProgress, index: int) -> None:
        video.unreadable(chunk_name(index))

    def _task_done(self, video: TakeInProgress, event: TaskDone) -> None:
        if event.task.stage is StageName.GENERATE:
            self._put(video, video.chunk_done(event.task.index, event.carry, event.output))
        else:
            self._put(video, video.window_done(event.task, event.output))

    def _segment_final(self, video: TakeInProgress, event: SegmentFinal) -> None:
        self._put(video, video.segment_final(event.index, event.segment))

    def _job_done(self, video: TakeInProgress | None, result: JobResult) -> None:
        if video is None:
            return
        name, method = result.job.subject, result.job.method
        if name is not None:  # a file to resume from
            video.loaded(name, result.carry if method == "load_chunk" else result.output)
            return self._submit(video)
        try:
            sizes: dict[str, int] = ray.get(result.carry) or {}
        except RayError as error:  # the files are unknown, so they are written again
            return self._restart(video.take.id, reason(error), result.job)
        if method in ("list_files", "copy", "begin_video"):
            return self._found(video, sizes)
        self._put(video, video.files_written(sizes))
        if method == "finish":
            self._end(self.stop(video.take.id), None)

    def _job_raised(self, video: TakeInProgress | None, result: JobResult) -> None:
        job, why = result.job, result.why
        if video is None or job.method == "drop":
            logger.warning("files left behind job=%s args=%s reason=%s", job.method, job.args, why)
        elif isinstance(result.error, EncodingError | UnreadableInput):
            self._fail(video, why)
        elif job.subject is not None:
            logger.warning("file unreadable id=%s name=%s reason=%s", video.take.id, job.subject, why)
            self._jobs.drop(video.take.id)
            video.unreadable(job.subject)
            if video.take.extension is not None:  # it would be written again, from the client's video
                return self._restart(video.take.id, f"{job.subject}: {why}", job)
            self._resume(video)
        else:
            logger.error("take cannot be written id=%s job=%s reason=%s", video.take.id, job.method, why)
            self._end(self.stop(video.take.id), NOT_WRITTEN)

    def _resubmit(self, video: TakeInProgress, lost: WriterJob | None) -> None:
        if video.files_known:
            self._resume(video)
        else:
            self._list_files(video)

    def _fail(self, video: TakeInProgress, why: str) -> None:
        self._end(self.stop(video.take.id), not_made(why))

    def _list_files(self, video: TakeInProgress) -> None:
        """Finds its files: a new one has none, except those of the take that it extends."""
        take = video.take
        if take.started_at is not None:
            self._jobs.put(WriterJob("list_files", (take.id,), take.id), first=True)
        elif take.extends is not None and (source := self._source(take.extends, take.made_with)) is not None:
            names = inherited(shape_of(source, for_video(self._conf, source.spec.settings)))
            self._jobs.put(WriterJob("copy", (source.id, take.id, names), take.id), first=True)
        else:
            self._found(video, {})

    def _source(self, take_id: str, origin: str) -> Take | None:
        """The extended take, if it exists and has the same weights and settings: otherwise all is made."""
        try:
            source = self._takes.get(take_id)
        except NoSuchTake:
            return None
        return source if source.status is Status.COMPLETED and source.made_with == origin else None

    def _found(self, video: TakeInProgress, sizes: Mapping[str, int]) -> None:
        video.set_files(sizes)
        self._takes.note(video.take)
        self._resume(video)

    def _resume(self, video: TakeInProgress) -> None:
        for job in video.loads():
            self._jobs.put(job, first=job.method != "begin_video")  # many of those follow each other
        self._submit(video)

    def _submit(self, video: TakeInProgress) -> None:
        if (resume := video.resume) is None:
            return
        try:
            self._runner.submit(video.take.spec, video.conf, video.shape.plan, resume, video.num_reached)
        except ValueError as error:
            self._fail(video, str(error))

    def _put(self, video: TakeInProgress, jobs: list[WriterJob]) -> None:
        for job in jobs:  # in their order, else previews or resumption would fall behind
            self._jobs.put(job)
        self._takes.note(video.take)

    def _save(self, video: TakeInProgress) -> bool:
        """Writes its record. A take that cannot be written ends."""
        try:
            self._takes.save(video.take)
        except Exception as error:  # each store has its own
            logger.error("take cannot be written id=%s reason=%s", video.take.id, error)
            self._end(self.stop(video.take.id), NOT_WRITTEN)
            return False
        return True
