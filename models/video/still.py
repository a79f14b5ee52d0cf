"""Reads a picture as people see it: upright, RGB of 8 bits, on white.

Notes are lines for what was left out or converted. Raises ValueError naming the picture and the reason.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 80_000_000  # decoded, they take 240 MB; Pillow itself warns from 89 million on
GROUND = "white"  # as of transparent videos


def read_still(
    source: Path | BinaryIO, name: str = "", formats: tuple[str, ...] | None = None, max_pixels: int | None = None
) -> tuple[UInt8[np.ndarray, "h w 3"], list[str]]:
    """(the picture, notes). `name` is that of a picture which is no file of this machine.

    `formats` are Pillow's names of those that are read; by default all. At most it has `max_pixels`, or MAX_PIXELS.
    """
    max_pixels = max_pixels or MAX_PIXELS
    try:
        with Image.open(source, formats=formats) as image:
            if image.width * image.height <= max_pixels:
                return _read(image)
            reason = f"it is {image.width}x{image.height}, and a picture may have {max_pixels} pixels"
    except UnidentifiedImageError:
        reason = f"it is no {_listed(formats)}picture that can be read"
    except Image.DecompressionBombError:
        reason = f"it is too large, a picture may have {max_pixels} pixels"
    except Exception as error:  # damaged pictures raise all kinds, also TypeError
        why = getattr(error, "strerror", None) or str(error) or "it is damaged"
        reason = f"it cannot be read as a picture ({why})"
    raise ValueError(f"{name or source}: {reason}")


def _listed(formats: tuple[str, ...] | None) -> str:
    return f"{', '.join(formats[:-1])} or {formats[-1]} " if formats else ""


def _read(image: Image.Image) -> tuple[UInt8[np.ndarray, "h w 3"], list[str]]:
    notes, num_frames = [], getattr(image, "n_frames", 1)
    if num_frames > 1:
        notes.append(f"it is animated: only the first of its {num_frames} frames is used")
    upright = ImageOps.exif_transpose(image)
    return np.array(_rgb(upright, notes)), notes


def _rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow clips instead of scaling
        notes.append("its colours are converted: 16 bits to 8")
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise OSError("its values are fractions without a known range")
    if image.has_transparency_data:
        notes.append(f"it is transparent: {GROUND} shows through")
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", shown.size, GROUND), shown)
    if image.mode == "CMYK":
        notes.append("its colours are converted: CMYK to RGB")
    return image.convert("RGB")
