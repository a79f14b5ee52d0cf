"""The commands, each in two halves.

A command checks its arguments, then returns the work: an error in the check is the user's, one in the work is ours.

Imports are in the functions, and the cheap checks come first: most refusals need no torch, whose import takes seconds.
"""

import argparse
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from longtake.pipelines.cli.recording import ray_runner, record_video
from longtake.pipelines.cli.requests import places_of, spec_of, warn_of_texts, with_picture

if TYPE_CHECKING:
    from longtake.models.domain.plan import Plan
    from longtake.models.domain.prompt import PromptSpec
    from longtake.pipelines.cli.video_recorder import Stream
    from longtake.pipelines.config.conf import Conf
    from longtake.pipelines.runners.bundle_limits import BundleLimits
    from longtake.pipelines.terminal.exit_codes import ExitCode

logger = logging.getLogger(__name__)
Work = Callable[[], "ExitCode | None"]  # None: done

JOBS = ("bulk", "serve", "evaluate", "train", "ablate", "convert")
VIDEOS = ("generate", "enhance", "extend", "bundle")
IDLE_POOLS = ("ray.base", "ray.refiner", "ray.writer")  # of commands that start none of them


def generate(args: argparse.Namespace) -> Work:
    _refuse_idle_ray(args)
    spec = spec_of(args, args.num_frames)
    places = places_of(args)
    conf, plan, limits = _conf(args, spec)
    if note := limits.fit_note(conf):
        logger.warning("the base model's %s", note)
    conf, resume = with_picture(args, conf)
    if args.runner == "ray":
        from longtake.pipelines.runners.stages import build_texts

        warn_of_texts(build_texts(conf), spec, plan, resume is not None)

        def work() -> None:
            with ray_runner(conf) as runner:
                stream = partial(runner.stream, spec, plan=plan, resume=resume)
                record_video(stream, plan, conf, conf.fps, places, "base model", limits.costs(conf))

        return work
    from longtake.pipelines.runners.stages import build_bundle, build_generator

    bundle = build_bundle(conf)
    runner = build_generator(conf, bundle)
    warn_of_texts(bundle, spec, plan, resume is not None)
    stream = partial(runner.stream, spec, plan=plan, resume=resume)
    return lambda: record_video(stream, plan, conf, conf.fps, places, "base model", limits.costs(conf))


def enhance(args: argparse.Namespace) -> Work:
    _refuse_idle(args, ("base", "opener", "ray"), "VIDEO replaces the base model, and the refiner runs in this process")
    from longtake.models.video.reader import VideoReader
    from longtake.models.video.sound import Sound

    if not _load_conf(args).refiner.enabled:
        raise ValueError("refiner.enabled=false: to enhance a video is to refine it")
    _conf(args, spec_of(args, 1))  # an invalid prompt, name or setting is reported before a long video is decoded
    places = places_of(args, source=args.video)
    video = VideoReader(args.video)
    spec = spec_of(args, video.num_frames)
    conf, plan, limits = _conf(args, spec)
    from longtake.pipelines.runners.stages import build_bundle, build_enhancer

    bundle = build_bundle(conf)
    runner = build_enhancer(conf, bundle, video)
    warn_of_texts(bundle, spec, plan)
    fps = conf.video.fps or video.fps
    sound = Sound(video, fps)
    for note in (*video.notes, *sound.notes):
        logger.warning("%s: %s", args.video, note)
    if fitted := limits.fit_note(conf, (video.height, video.width)):
        logger.warning("%s: %s", args.video, fitted)

    def work() -> None:
        with video:
            record_video(partial(runner.stream, spec, plan=plan), plan, conf, fps, places, "reading", (0, 1), sound)

    return work


def extend(args: argparse.Namespace) -> Work:
    _refuse_idle_ray(args)
    _refuse_idle(args, ("opener",), "VIDEO is the beginning")
    _refuse_idle(args, ("refiner.coupling",), "frames that exist do not change, so it is causal")
    _refuse_idle(args, ("refiner.fit",), "VIDEO is stretched to the models' frames, and new frames are stretched back")
    from longtake.models.video.reader import VideoReader
    from longtake.models.video.sound import Sound

    conf, _, limits = _conf(args, spec_of(args, args.num_frames))  # as in enhance
    places = places_of(args, source=args.video)
    video = VideoReader(args.video)
    from longtake.pipelines.runners.existing_video import ExistingVideo, differences, extension_of, for_extension
    from longtake.pipelines.runners.stages import build_bundle, build_generator, build_texts

    conf = for_extension(conf)
    extension = extension_of(args.video, video, args.num_frames, conf)
    bundle = build_bundle(conf) if args.runner == "local" else build_texts(conf)
    spec = spec_of(args, extension.plan.num_frames)
    warn_of_texts(bundle, spec, extension.plan)
    fps = conf.video.fps or video.fps
    sound = Sound(video, fps)
    existing = ExistingVideo(video, extension, conf)
    for note in (*video.notes, *sound.notes, *differences(video, extension, conf, sound)):
        logger.warning("%s: %s", args.video, note)

    def write(stream: "Stream") -> None:
        with video:
            record_video(stream, extension.plan, conf, fps, places, "base model", limits.costs(conf), sound, extension)

    def work() -> None:
        if args.runner == "local":
            return write(partial(existing.stream, spec, build_generator(conf, bundle)))
        import ray

        with ray_runner(conf) as runner:
            write(partial(existing.stream, spec, runner, share=ray.put))

    return work


def plan(args: argparse.Namespace) -> Work:
    _refuse_idle(args, ("base", "opener", "refiner", "scheduler", "video", "ray"), "a plan depends on plan.* only")
    from longtake.models.domain.plan import Plan
    from longtake.pipelines.cli.plan_drawing import draw

    drawing = draw(Plan(args.num_frames, _load_conf(args).plan))
    return lambda: print(drawing)


def bundle(args: argparse.Namespace) -> Work:
    from longtake.pipelines.cli import bundle_command

    conf = _load_conf(args)
    return bundle_command.check(conf) if args.action == "check" else bundle_command.show(conf, args.size, args.batch)


def bulk(args: argparse.Namespace) -> Work:
    from longtake.pipelines.bulk.checks import check
    from longtake.pipelines.bulk.settings import load_bulk

    prepared = check(load_bulk(args.config, _settings(args)))

    def work() -> "ExitCode":
        from longtake.pipelines.bulk.command import run
        from longtake.pipelines.bulk.progress import exit_code, summary

        tally = run(prepared)
        print(summary(str(prepared.store), tally))
        return exit_code(tally)

    return work


def regenerate(args: argparse.Namespace) -> Work:
    from longtake.pipelines.bulk.regenerate import find, picture_for, remake, video_for

    places = places_of(args)
    row, conf = find(args.manifest, args.id, _settings(args))
    picture, video = picture_for(row, args.image), video_for(row, args.video)

    def work() -> None:
        if not remake(row, conf, places.out, picture, video):
            raise RuntimeError(
                f"{places.out} differs from {args.manifest}/{row.path}, which was made on another kind of machine "
                "or with other library versions"
            )
        print(f"{places.out}: the same bytes as {args.manifest}/{row.path}")

    return work


def serve(args: argparse.Namespace) -> Work:
    from longtake.pipelines.serve.checks import check, check_port
    from longtake.pipelines.serve.settings import load_serve

    flags = {"serve.host": args.host, "serve.port": args.port}
    chosen = [f"{key}={value}" for key, value in flags.items() if value is not None]
    conf = check_port(check(load_serve(args.config, [*chosen, *_settings(args)])))

    def work() -> None:
        from longtake.pipelines.serve.deployment import serve_forever

        serve_forever(conf)

    return work


def evaluate(args: argparse.Namespace) -> Work:
    from longtake.pipelines.evaluate.settings import load_evaluate

    if args.compare:
        return _compare(args)
    _refuse_idle(args, IDLE_POOLS, "num_workers=N sets how many videos are measured at a time")
    conf = load_evaluate(args.config, _settings(args))
    from longtake.pipelines.evaluate.command import check, run

    prepared = check(conf)

    def work() -> "ExitCode":
        from longtake.pipelines.terminal.exit_codes import ExitCode

        outcome = run(prepared)
        for line in outcome.lines():
            print(f"{conf.out}: {line}")
        print(f"see {prepared.evaluation.store}/index.html")
        return ExitCode.SOME_FAILED if outcome.failed else ExitCode.DONE

    return work


def _compare(args: argparse.Namespace) -> Work:
    from longtake.pipelines.evaluate.compare import check, compare

    if args.allow_pickle:
        raise ValueError("--allow-pickle has no effect with --compare, which loads no weights")
    folders = [word for word in args.compare if "=" not in word]
    options = dict(word.split("=", 1) for word in (*args.compare, *args.overrides) if "=" in word)
    comparison = check(folders, options)

    def work() -> None:
        for line in compare(comparison):
            print(line)
        print(f"see {comparison.store}/index.html")

    return work


def train(args: argparse.Namespace) -> Work:
    from longtake.pipelines.train.checks import check
    from longtake.pipelines.train.settings import load_train

    _refuse_idle(args, IDLE_POOLS, "workers=N sets how many workers train")
    prepared = check(load_train(args.config, _settings(args)))

    def work() -> None:
        from longtake.pipelines.train.command import run

        print(run(prepared))

    return work


def ablate(args: argparse.Namespace) -> Work:
    from longtake.pipelines.ablation.jobs import check
    from longtake.pipelines.ablation.settings import load_ablate

    jobs = check(load_ablate(args.config, _settings(args)))

    def work() -> None:
        from longtake.pipelines.ablation.command import run

        print(run(jobs))

    return work


def watched(args: argparse.Namespace) -> AbstractContextManager[None]:
    """The lines that a command shows during its check, which reads and loads much, and while it runs."""
    from longtake.pipelines.terminal.session import session, warnings_only

    if args.name in JOBS or getattr(args, "runner", None) == "ray":
        return session(args.name, args.debug)
    return warnings_only() if args.name in VIDEOS else nullcontext()


def _conf(args: argparse.Namespace, spec: "PromptSpec") -> "tuple[Conf, Plan, BundleLimits]":
    """The configuration and the plan of a video, and the limits of the bundle, within which they are."""
    from longtake.pipelines.runners.bundle_limits import limits_of
    from longtake.pipelines.runners.spec_checks import plan_for

    conf = _load_conf(args)
    if not conf.refiner.enabled:
        idle = tuple(word for word in args.overrides if not word.startswith("refiner.enabled="))
        _refuse_idle(argparse.Namespace(overrides=idle), ("refiner",), "with refiner.enabled=false nothing is refined")
    limits = limits_of(conf)
    conf = limits.settled(conf)
    return conf, plan_for(conf, spec), limits


def _load_conf(args: argparse.Namespace) -> "Conf":
    from longtake.pipelines.config.conf import load

    flags = {"bundle": getattr(args, "bundle", None), "video.fps": getattr(args, "fps", None)}
    chosen = [f"{key}={value}" for key, value in flags.items() if value is not None]
    return load(args.config, [*chosen, *_settings(args)], enhances=args.name in ("enhance", "extend"))


def _settings(args: argparse.Namespace) -> list[str]:
    """The settings of the command line, with the flag that is one."""
    return [*(["allow_pickle=true"] if getattr(args, "allow_pickle", False) else []), *args.overrides]


def _refuse_idle(args: argparse.Namespace, sections: tuple[str, ...], reason: str) -> None:
    """Raises ValueError for a setting of the command line that would change nothing."""
    for word in args.overrides:
        if word.startswith(tuple(f"{section}{end}" for section in sections for end in ".=")):
            raise ValueError(f"{word} has no effect here: {reason}")


def _refuse_idle_ray(args: argparse.Namespace) -> None:
    if args.runner == "local":
        _refuse_idle(args, ("ray",), "the models run in this process; add --runner ray")
