"""The commands that convert published checkpoints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from longtake.pipelines.terminal.progress import doing

if TYPE_CHECKING:
    from longtake.pipelines.cli.commands import Work


def streaming_t2v(args: argparse.Namespace) -> "Work":
    out = _out(args, makes="unet")
    from longtake.pipelines.convert.command import check_streaming_t2v

    with doing(f"reading {args.checkpoint}"):
        conversion = check_streaming_t2v(args.checkpoint, args.base, out)
    return lambda: print(conversion.run())


def vid2vid_xl(args: argparse.Namespace) -> "Work":
    out = _out(args, makes="refiner")
    from longtake.pipelines.convert.command import check_vid2vid_xl

    with doing(f"reading {args.checkpoint}"):
        conversion = check_vid2vid_xl(args.checkpoint, args.vae, args.text_encoder, out, args.scale_start)
    return lambda: print(conversion.run())


def _out(args: argparse.Namespace, makes: str) -> Path:
    """Checks what needs no torch, whose import takes seconds."""
    from longtake.pipelines.convert.new_folder import check_out

    if args.overrides:
        raise ValueError(f"{args.overrides[0]} has no effect here: a conversion has no settings")
    if not args.checkpoint.is_file():
        raise ValueError(f"checkpoint={args.checkpoint} is no file")
    out: Path = args.out.resolve()
    check_out(out, makes)
    return out
