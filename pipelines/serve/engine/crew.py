"""The pools of the endpoint at work: takes go in, files come out. All of it in the engine's thread.

   take ──► look, copy or nothing ──► RayRunner ──► chunks, boundaries, segments ──► files ──► finish
            writer actors             base, refiner actors                            writer actors

1. Whatever of a take is on disk is read and not made again, after a restart as after a loss.
2. A piece that died with a machine makes its take begin anew from its files, at most `max_attempts` times.
3. A take that cannot be made, or not be written, ends alone.
4. Files of a take are removed when no writer works on it any more.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from longtake.actors.calls import Calls, Fate, Outcome
from longtake.actors.pool import Pool, reason
from longtake.models.domain.scheduler import Stage, Task
from longtake.pipelines.config.conf import for_video
from longtake.pipelines.runners.ray_runner import Event, RayRunner, SegmentFinal, VideoFailed
from longtake.pipelines.runners.writer_queue import Ended, Errand, Errands
from longtake.pipelines.serve.engine.results import NOT_WRITTEN, OTHER_SETTINGS, Error, not_made
from longtake.pipelines.serve.engine.take_in_progress import Work
from longtake.pipelines.serve.library.events import Live
from longtake.pipelines.serve.library.resume_plan import inherited, made_with, shape_of
from longtake.pipelines.serve.library.take_files import NO_FRAMES
from longtake.pipelines.serve.library.takes import NoSuchTake, Status, Take, Takes
from longtake.pipelines.serve.settings import ServeConf

logger = logging.getLogger(__name__)
# When more wait for a writer, no task is handed out: segments of 720p are 44 MB, boundaries 2 MB a step.
WAITING_FRAGMENTS, WAITING_ERRANDS = 16, 64

End = Callable[[Take, Error | None], None]


class NotYet(Exception):
    """What is there of a take is being looked at: to be asked again in a moment."""


class Crew:
    """`end` is called when a take is completed or has failed, after which the crew does not know it any more."""

    def __init__(self, conf: ServeConf, pools: Mapping[str, Pool], bundle_sha256: str, takes: Takes, end: End) -> None:
        self._conf, self._bundle_sha256, self._takes, self._end = conf, bundle_sha256, takes, end
        self._pools, self._writer = pools, pools["writer"]
        self._calls = Calls(list(pools.values()), conf.ray.task_timeout_s, conf.ray.start_timeout_s)
        self._runner = RayRunner(conf, pools, self._calls, self._detour)
        self._errands = Errands(self._writer, self._calls, conf.ray.max_attempts)
        self._works: dict[str, Work] = {}
        self._leaving: set[str] = set()  # takes whose files are to be removed

    @property
    def num_works(self) -> int:
        return len(self._works)

    @property
    def is_idle(self) -> bool:
        """Nothing runs, and nothing is to be waited for."""
        return not self._calls and not any(pool.proofs for pool in self._pools.values())

    @property
    def is_settled(self) -> bool:
        """No call runs, and nothing waits for a writer."""
        return not self._calls and not self._errands.busy and not self._leaving

    def __contains__(self, take_id: str) -> bool:
        return take_id in self._works

    def gauges(self) -> dict[str, float]:
        calls = {f"{name}_calls": float(self._calls.running(pool)) for name, pool in self._pools.items()}
        return {
            **calls,
            "waiting_frames": float(sum(self._runner.waiting_frames.values())),
            "waiting_fragments": float(self._errands.num_waiting("keep_fragment")),
        }

    def begin(self, take: Take, live: Live) -> None:
        """Puts a take into work, or goes on with one."""
        is_new = take.started_at is None
        take = replace(take, status=Status.IN_PROGRESS, started_at=take.started_at or int(time.time()))
        try:
            conf = for_video(self._conf, take.spec.settings)
            made = made_with(conf, self._bundle_sha256)
            work = Work(replace(take, made_with=made, plan=conf.plan), conf, live)
        except ValueError as error:
            return self._end(take, not_made(str(error)))
        if take.made_with not in ("", made):
            return self._end(take, OTHER_SETTINGS)
        self._works[take.id] = work
        if self._save(work):
            live.append("status", status=Status.IN_PROGRESS.value)
            self._look(work, is_new)

    def stop(self, take_id: str) -> Take:
        """Nobody wants the rest of it. Calls that run are left to end; they are seconds."""
        self._runner.cancel(take_id)
        self._errands.drop(take_id)
        return self._works.pop(take_id).take

    def remove(self, take_id: str) -> None:
        """The files of a take that is not in work."""
        self._leaving.add(take_id)

    def change_prompt(self, take_id: str, prompt: str) -> int:
        """The frame from which on it holds. Raises ValueError when none is left, and NotYet."""
        work = self._works[take_id]
        if not work.is_found:
            raise NotYet
        try:
            self._runner.spec(take_id)
        except ValueError:  # it is not there yet, or not any more
            frame = work.change_prompt(prompt)
        else:
            frame = self._runner.change_prompt(take_id, prompt)
            spec = self._runner.spec(take_id)
            work.take = replace(work.take, prompt=spec.prompt, cues=spec.cues)
        # Written before any call carries it: begun anew, the take has the same frames.
        if self._save(work):
            work.live.append("prompt", from_frame=frame, prompt=prompt)
        return frame

    def hand_out(self, tasks: bool = True) -> None:
        """Starts what can be started; without `tasks`, errands alone."""
        if tasks and not self._is_behind:
            self._runner.hand_out()  # first: what it reads of a take that goes on needs a writer at once
        if self._leaving:
            writing = {subject.video_id for subject in self._calls.subjects(self._writer)}
            for take_id in self._leaving - writing:
                self._leaving.discard(take_id)
                self._errands.put(Errand("remove", (take_id,)))
        self._errands.hand_out()

    def take_in(self, timeout_s: float) -> None:
        """What has happened, after at most `timeout_s`. Raises RuntimeError when a pool is dead."""
        for outcome in self._calls.wait(timeout_s):
            subject = outcome.call.subject
            if isinstance(subject, Errand):
                self._ended(self._errands.take_in(outcome))
            elif outcome.fate is Fate.MISSING and self._runner.runs(subject):
                self._begin_anew(self._works[subject.video_id], outcome.why)
            else:
                for event in self._runner.take_in(self._read(outcome)):
                    self._event(event)

    @property
    def _is_behind(self) -> bool:
        fragments, errands = self._errands.num_waiting("keep_fragment"), self._errands.num_waiting()
        return fragments > WAITING_FRAGMENTS or errands > WAITING_ERRANDS

    def _look(self, work: Work, is_new: bool) -> None:
        """Finds out what there is of it; of a new one nothing, or what it has of the take that it extends."""
        take = work.take
        if not is_new:
            self._errands.put(Errand("look", (take.id,), take.id), first=True)
        elif take.extends is not None and (source := self._source(take.extends, work.take.made_with)) is not None:
            names = inherited(shape_of(source.spec, for_video(self._conf, source.spec.settings)))
            self._errands.put(Errand("copy", (source.id, take.id, names), take.id), first=True)
        else:
            self._found(work, {})

    def _source(self, take_id: str, made: str) -> Take | None:
        """The take that is extended, if it is there and was made with the same: without it all is made."""
        try:
            source = self._takes.get(take_id)
        except NoSuchTake:
            return None
        return source if source.status is Status.COMPLETED and source.made_with == made else None

    def _found(self, work: Work, sizes: Mapping[str, int]) -> None:
        work.found(sizes)
        self._takes.note(work.take)
        self._go(work)

    def _go(self, work: Work) -> None:
        for errand in work.begin():
            self._errands.put(errand, first=True)
        self._submit(work)

    def _submit(self, work: Work) -> None:
        if (resume := work.resume) is None:
            return
        try:
            self._runner.submit(work.take.spec, work.conf, resume, work.num_reached)
        except ValueError as error:
            self._fail(work, not_made(str(error)))

    def _detour(self, task: Task) -> tuple[Pool, str, tuple[Any, ...]] | None:
        """A chunk that is kept is read instead of made."""
        if task.stage is Stage.GENERATE and self._works[task.video_id].has_chunk(task.index):
            return self._writer, "load_chunk", (task.video_id, task.index)
        return None

    def _read(self, outcome: Outcome) -> Outcome:
        """A chunk that cannot be read is made instead."""
        task: Task = outcome.call.subject
        if outcome.call.pool is not self._writer or outcome.fate is not Fate.RAISED or not self._runner.runs(task):
            return outcome
        logger.warning("chunk unreadable id=%s index=%d reason=%s", task.video_id, task.index, outcome.why)
        self._works[task.video_id].unreadable_chunk(task.index)
        return replace(outcome, fate=Fate.LOST)

    def _event(self, event: Event) -> None:
        if isinstance(event, VideoFailed):
            return self._fail(self._works[event.video_id], not_made(event.reason))
        if isinstance(event, SegmentFinal):
            work = self._works[event.video_id]
            errands = work.segment_final(event.index, event.segment)
        else:
            work, task = self._works[event.task.video_id], event.task
            if task.stage is Stage.GENERATE:
                errands = work.chunk_made(task.index, event.carry, event.output)
            else:
                errands = work.window_done(task, event.output)
        self._put(work, errands)

    def _put(self, work: Work, errands: list[Errand]) -> None:
        for errand in errands:  # in their order: whatever went first would let previews, or what is kept, fall behind
            self._errands.put(errand)
        self._takes.note(work.take)

    def _ended(self, ended: Ended) -> None:
        errand, work = ended.errand, self._works.get(ended.errand.video_id)
        if work is None or not ended.wanted:
            if ended.fate is Fate.RAISED:
                logger.warning("files left behind errand=%s args=%s reason=%s", errand.method, errand.args, ended.why)
        elif ended.fate is Fate.MISSING:
            self._begin_anew(work, ended.why)
        elif ended.fate is Fate.RAISED:
            self._raised(work, errand, ended.why)
        elif ended.fate is Fate.DONE:
            self._done(work, ended)

    def _done(self, work: Work, ended: Ended) -> None:
        errand = ended.errand
        if errand.about:  # something that it goes on from
            work.loaded(errand.about, ended.first if errand.method == "load_chunk" else ended.second)
            return self._submit(work)
        try:
            sizes: dict[str, int] = ray.get(ended.first) or {}
        except RayError as error:  # what it wrote is not known, so it is written again
            return self._begin_anew(work, reason(error))
        if errand.method in ("look", "copy"):
            return self._found(work, sizes)
        self._put(work, work.wrote(sizes))
        if errand.method == "finish":
            del self._works[work.take.id]
            self._end(work.take, None)

    def _raised(self, work: Work, errand: Errand, why: str) -> None:
        if errand.about:
            logger.warning("file unreadable id=%s name=%s reason=%s", work.take.id, errand.about, why)
            self._errands.drop(work.take.id)
            work.unreadable(errand.about)
            self._go(work)
        elif why.startswith(NO_FRAMES):
            self._fail(work, not_made(why))
        elif errand.method == "drop":
            logger.warning("files left behind id=%s reason=%s", work.take.id, why)
        else:
            logger.error("take cannot be written id=%s errand=%s reason=%s", work.take.id, errand.method, why)
            self._fail(work, NOT_WRITTEN)

    def _begin_anew(self, work: Work, why: str) -> None:
        work.attempts += 1
        logger.warning("take begins anew id=%s attempts=%d reason=%s", work.take.id, work.attempts, why)
        if work.attempts >= self._conf.ray.max_attempts:
            return self._fail(work, not_made(f"parts of it were lost {work.attempts} times: {why}"))
        self._runner.cancel(work.take.id)
        self._errands.drop(work.take.id)
        if work.is_found:
            self._go(work)
        else:
            self._look(work, is_new=False)

    def _fail(self, work: Work, error: Error) -> None:
        self._end(self.stop(work.take.id), error)

    def _save(self, work: Work) -> bool:
        """Its record. A take that cannot be written ends."""
        try:
            self._takes.save(work.take)
        except Exception as error:  # each store has its own
            logger.error("take cannot be written id=%s reason=%s", work.take.id, error)
            self._fail(work, NOT_WRITTEN)
            return False
        return True
