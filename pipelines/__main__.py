"""The command line. `longtake COMMAND --help` lists the arguments of a command.

Exit codes (pipelines/terminal/exit_codes.py): every end but 0 and 3 is explained in one line on stderr. --debug shows
the traceback. A stopped command leaves a file that plays, or none.

Nothing heavy is imported here, so help and refusals come immediately.
"""

import argparse
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from longtake import __version__
from longtake.pipelines.cli import commands, conversions
from longtake.pipelines.terminal import streams
from longtake.pipelines.terminal.exit_codes import ExitCode, Refused
from longtake.pipelines.terminal.signals import catch_signals, end_at_once

SETTINGS = "Every setting of the configuration can be given as section.key=value, such as refiner.coupling=causal."


def run() -> int:
    """Runs `main` as the program: the process ends with it."""
    streams.protect()
    try:
        code = main()
    except SystemExit as end:  # --help, --version
        code = int(end.code or 0)
    end_at_once(code)
    return streams.finish(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    received = catch_signals()
    checking = True
    try:
        args = _arguments(argv)
        with commands.watched(args):
            work: commands.Work = args.command(args)
            checking = False
            return work() or ExitCode.DONE
    except KeyboardInterrupt as stop:
        words = ["stopped", *map(str, stop.args), *_notes(stop)]
        return _report(": ".join(words), received.exit_code(stop))
    except Exception as error:
        if "--debug" in argv:
            traceback.print_exc()
        explained = isinstance(error, ValueError | OSError)
        kind = "" if explained and str(error) else f"{type(error).__name__}: "
        invalid = isinstance(error, Refused) or (explained and checking)
        return _report(f"error: {kind}{error}", ExitCode.INVALID if invalid else ExitCode.FAILED)


def _arguments(argv: list[str]) -> argparse.Namespace:
    # argparse takes no settings after options (`PROMPT --out FILE a.b=1`), but returns the words that it does not know.
    args, rest = _parser().parse_known_args(argv)
    for word in rest:
        if word.startswith("-") or "=" not in word:
            raise ValueError(
                f"{word!r} is neither an option nor section.key=value; a prompt of several words needs quotes"
            )
    args.overrides = rest
    return args


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _report(message: str, code: int) -> int:
    print(f"longtake: {' '.join(message.split())}", file=sys.stderr)
    return code


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _size(text: str) -> tuple[int, int]:
    """(height, width) of `1280x720`."""
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 1280x720")
    return int(found[2]), int(found[1])


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: it needs a value")
    return text


def _path(text: str) -> Path:
    return Path(_text(text))


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like all others here."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="longtake", description="Long videos from text, in one take.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"longtake {__version__}")
    names = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_video_commands, _add_ray_commands, _add_research_commands, _add_conversions):
        add(names)
    return parser


def _add_video_commands(names: Any) -> None:
    generate = _command(names, "generate", commands.generate, "generate a video from a prompt")
    generate.add_argument("prompt", metavar="PROMPT", help="a description of the video, in quotes")
    generate.add_argument("--num-frames", type=_integer, default=80, metavar="N", help="length in frames (default: 80)")
    generate.add_argument(
        "--prompt-at",
        nargs=2,
        action="append",
        metavar=("FRAME", "TEXT"),
        help="a new prompt from a later frame on; may be repeated",
    )
    generate.add_argument("--image", type=_path, metavar="FILE", help="a picture that the video begins with")
    generate.add_argument("--preview", type=_path, metavar="FILE", help="also write the low-resolution video, an .mp4")
    _add_runner(generate)
    _add_output(generate, "frames per second of the file (default: 8)")

    enhance = _command(names, "enhance", commands.enhance, "refine an existing video")
    enhance.add_argument("video", metavar="VIDEO", type=_path, help="a file of any format, size and length")
    enhance.add_argument("--prompt", required=True, help="a description of the video, in quotes")
    _add_output(enhance, "frames per second of the file (default: those of VIDEO)")

    bundle = _command(names, "bundle", commands.bundle, "show what a bundle holds, or check it")
    bundle.add_argument(
        "action", choices=["show", "check"], help="show: its parts, sizes and memory; check: its faults"
    )
    bundle.add_argument("bundle", type=_text, metavar="PATH", help="a folder, a shipped bundle, or a hub id")
    bundle.add_argument("--size", type=_size, metavar="WxH", help="show: the frames for which memory is estimated")
    bundle.add_argument(
        "--batch", type=_integer, default=2, metavar="N", help="show: predictions at a time (default: 2, with guidance)"
    )

    extend = _command(names, "extend", commands.extend, "continue an existing video")
    extend.add_argument("video", metavar="VIDEO", type=_path, help="a file of any format, size and length")
    extend.add_argument("--prompt", required=True, help="a description of the new frames, in quotes")
    extend.add_argument(
        "--num-frames",
        type=_integer,
        default=80,
        metavar="N",
        help="number of new frames, after those of VIDEO (default: 80)",
    )
    _add_runner(extend)
    _add_output(extend, "frames per second of the file (default: those of VIDEO)", draws=False)

    plan = _command(names, "plan", commands.plan, "draw the chunks, windows and segments of a video", loads=False)
    plan.add_argument("--num-frames", type=_integer, default=80, metavar="N", help="length of the video (default: 80)")


def _add_ray_commands(names: Any) -> None:
    bulk = _command(names, "bulk", commands.bulk, "generate a dataset of videos from files of prompts, on Ray")
    bulk.epilog = f"Needs prompts=PATH and out=PATH, on any fsspec path. {SETTINGS}"

    again = _command(names, "regenerate", commands.regenerate, "generate one video of a bulk job's manifest again")
    again.add_argument("id", type=_text, metavar="ID", help="the id of its row in the manifest")
    again.add_argument(
        "--manifest", type=_text, required=True, metavar="PATH", help="the folder that the bulk job wrote (out=PATH)"
    )
    again.add_argument("--out", type=_path, required=True, metavar="FILE", help="the video to write, an .mp4")
    again.add_argument(
        "--image", type=_text, metavar="PATH", help="where the picture is now that the video begins with, if it moved"
    )
    again.add_argument("--video", type=_text, metavar="PATH", help="the same of the video that it continues")

    serve = _command(names, "serve", commands.serve, "serve videos over HTTP, with a web page, on Ray Serve")
    serve.add_argument(
        "--host", type=_text, metavar="HOST", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    serve.add_argument("--port", type=_integer, metavar="PORT", help="port; 0 picks a free one (default: 8000)")
    serve.epilog = f"Prints its URL when it is ready. Ctrl-C shuts it down cleanly. {SETTINGS}"


def _add_research_commands(names: Any) -> None:
    evaluate = _command(names, "evaluate", commands.evaluate, "measure videos: seams, drift, warp errors, cuts, CLIP")
    evaluate.add_argument(
        "--compare",
        nargs="+",
        type=_text,
        metavar="FOLDER",
        help="evaluations of the same prompts and seeds, side by side; the first is the reference",
    )
    evaluate.epilog = f"Needs manifest=PATH and out=PATH; with --compare only out=PATH. {SETTINGS}"

    ablate = _command(names, "ablate", commands.ablate, "compare a bundle with ablations and other methods")
    ablate.epilog = f"Needs out=FOLDER. Videos and metrics are kept in work=PATH and reused by the next run. {SETTINGS}"

    train = _command(
        names, "train", commands.train, "train the memory (CAM and APM) of your own base model, on Ray Train"
    )
    train.epilog = f"Needs manifest=PATH and out=FOLDER; the same command resumes an interrupted training. {SETTINGS}"


def _add_conversions(names: Any) -> None:
    summary = "turn the checkpoints of the published system into a bundle"
    convert = names.add_parser("convert", help=summary, description=f"{summary}.".capitalize(), allow_abbrev=False)
    kinds = convert.add_subparsers(metavar="CHECKPOINT", required=True)

    base = _conversion(kinds, "streaming-t2v", conversions.streaming_t2v, "streaming_t2v.ckpt as a bundle")
    base.add_argument(
        "--base",
        type=_path,
        required=True,
        metavar="DIR",
        help="ModelScope's text-to-video folder, for the first chunk",
    )

    refiner = _conversion(kinds, "vid2vid-xl", conversions.vid2vid_xl, "non_ema_0035000.pth as a bundle's refiner/")
    parts = {
        "--vae": "its VAE, that of Stable Diffusion 2.1",
        "--text-encoder": "its text encoder and tokenizer, likewise",
    }
    for option, text in parts.items():
        refiner.add_argument(
            option, type=_path, required=True, metavar="DIR", help=f"{text}: that folder, or the whole pipeline's"
        )
    refiner.add_argument(
        "--scale-start",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin with sigma times the noisy frames, as the published sampler does by mistake (the default), "
        "or with the noisy frames",
    )


def _conversion(kinds: Any, name: str, run: Callable[[argparse.Namespace], commands.Work], summary: str) -> _Parser:
    parser = _named(kinds, name, run, summary)
    parser.set_defaults(name="convert")
    parser.add_argument("--checkpoint", type=_path, required=True, metavar="FILE", help="the published file")
    parser.add_argument("--out", type=_path, required=True, metavar="DIR", help="the folder to write")
    return parser


def _command(
    names: Any, name: str, run: Callable[[argparse.Namespace], commands.Work], summary: str, loads: bool = True
) -> _Parser:
    """A command with settings; `loads`: it loads weights."""
    parser = _named(names, name, run, summary)
    parser.epilog = SETTINGS
    if loads:
        parser.add_argument(
            "--allow-pickle",
            action="store_true",
            help="also read .bin files, as tensors alone, where nothing else is there",
        )
    parser.add_argument(
        "--config", type=_path, metavar="YAML", help="file with settings (default: the one for this command in conf/)"
    )
    return parser


def _named(names: Any, name: str, run: Callable[[argparse.Namespace], commands.Work], summary: str) -> _Parser:
    parser: _Parser = names.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(command=run, name=name)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runner",
        choices=["local", "ray"],
        default="local",
        help="local: the models run in this process (the default); ray: in the actors of a cluster",
    )


def _add_output(parser: argparse.ArgumentParser, fps: str, draws: bool = True) -> None:
    parser.add_argument("--out", type=_path, required=True, metavar="FILE", help="the video to write, an .mp4")
    parser.add_argument(
        "--seed",
        type=_integer,
        default=0,
        metavar="S",
        help="random seed (default: 0)",
    )
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what the video should not show")
    parser.add_argument("--fps", type=_integer, metavar="N", help=fps)
    if draws:
        parser.add_argument(
            "--contact-sheet", type=_path, metavar="FILE", help="also draw frames of both videos, as a .png"
        )
    parser.add_argument(
        "--bundle",
        type=_text,
        metavar="PATH",
        help="folder with the weights, the name of a shipped bundle, or a hub id (default: tiny)",
    )


if __name__ == "__main__":
    sys.exit(run())
