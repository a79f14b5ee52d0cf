"""The commands that convert published checkpoints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longtake.pipelines.cli.commands import Work
    from longtake.pipelines.convert.conversion import Conversion


def streaming_t2v(args: argparse.Namespace) -> "Work":
    out = _out(args, makes="unet")
    from longtake.pipelines.convert.command import check_streaming_t2v

    return _work(check_streaming_t2v(args.checkpoint, args.base, out))


def vid2vid_xl(args: argparse.Namespace) -> "Work":
    out = _out(args, makes="refiner")
    from longtake.pipelines.convert.command import check_vid2vid_xl

    return _work(check_vid2vid_xl(args.checkpoint, args.vae, args.text_encoder, out, args.scale_start))


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


def _work(conversion: "Conversion") -> "Work":
    return lambda: print(conversion.run())
