"""Reads a picture as people see it: upright, RGB of 8 bits, on white.

Notes are lines for what was left out or converted. Raises ValueError naming the path and the reason.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 80_000_000  # decoded, they take 240 MB; Pillow itself warns from 89 million on
GROUND = "white"  # as of transparent videos


def read_still(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], list[str]]:
    """(the picture, notes)."""
    try:
        with Image.open(path) as image:
            notes = []
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise ValueError(f"{path}: it is {size}, and a picture may have {MAX_PIXELS} pixels")
            num_frames = getattr(image, "n_frames", 1)
            if num_frames > 1:
                notes.append(f"it is animated: only the first of its {num_frames} frames is used")
            upright = ImageOps.exif_transpose(image)
            return np.array(_rgb(upright, notes)), notes
    except UnidentifiedImageError:
        raise ValueError(f"{path}: it is no picture that can be read") from None
    except Image.DecompressionBombError:
        raise ValueError(f"{path}: it is too large, a picture may have {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is damaged"
        raise ValueError(f"{path}: it cannot be read as a picture ({reason})") from None


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
