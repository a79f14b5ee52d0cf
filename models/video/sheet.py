"""A contact sheet: every n-th frame of a video with its number, below the low-resolution preview if there is one.

    0      8      16        frame numbers
    [low]  [low]  [low]     preview, its pixels as they are
    [ref]  [ref]  [ref]     refined
    24     32     40
    ...

Shapes: n frames on the sheet, t frames of the video, h w rows and columns, c = 3 channels (red, green, blue).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from longtake.models.video.fit import inside

PAPER, INK = (22, 24, 29), (168, 174, 186)  # dark: frames look brighter than the page, as in a cinema
MAX_TILE = 180  # pixels: default height of a tile
GAP, MARGIN, LINE = 4, 16, 20  # pixels: between tiles, around the sheet, height of a line of text
TILES = 10  # tiles on a sheet by default, or fewer

Frames = UInt8[np.ndarray, "n h w c"]


def sheet_numbers(num_frames: int, every: int | None = None) -> list[int]:
    """The frames of a sheet: every `every`-th, by default as many as make ten tiles or fewer."""
    return list(range(0, num_frames, every or -(-num_frames // TILES)))


def draw_sheet(
    numbers: Sequence[int], rows: Mapping[str, Frames], columns: int = 5, tile_height: int | None = None
) -> UInt8[np.ndarray, "rows columns c"]:
    """One tile per number and row; `rows` maps a name to the frames of exactly these numbers, top row first.

    All rows have the tile size of the last one; frames of another shape keep it, in the middle of their tiles. Two
    rows or more have their names at the left. Raises ValueError for a row of another length, and for sizes below 1.
    """
    for name, frames in rows.items():
        if len(frames) != len(numbers):
            raise ValueError(f"row {name!r} has {len(frames)} frames for {len(numbers)} numbers")
    height, width = list(rows.values())[-1].shape[1:3]
    tile_height = _tile_height(height) if tile_height is None else tile_height
    if columns < 1 or tile_height < 1:
        raise ValueError(f"columns={columns}, tile_height={tile_height}: both must be at least 1")
    tile = (max(1, round(tile_height * width / height)), tile_height)
    columns = min(columns, len(numbers))
    gutter = LINE if len(rows) > 1 else 0
    block = LINE + len(rows) * (tile[1] + GAP) + 2 * GAP
    num_blocks = -(-len(numbers) // columns)
    size = (2 * MARGIN + gutter + columns * (tile[0] + GAP) - GAP, 2 * MARGIN + num_blocks * block - 3 * GAP)
    sheet = Image.new("RGB", size, PAPER)
    for position, number in enumerate(numbers):
        x = MARGIN + gutter + position % columns * (tile[0] + GAP)
        y = MARGIN + position // columns * block
        _write(sheet, str(number), x, y)
        for row, frames in enumerate(rows.values()):
            same_shape = frames.shape[1] * width == frames.shape[2] * height
            shape = (frames.shape[1], frames.shape[2])
            picture = _tile(frames[position], tile if same_shape else inside(shape, tile[::-1])[::-1])
            left, top = (tile[0] - picture.width) // 2, (tile[1] - picture.height) // 2
            sheet.paste(picture, (x + left, y + LINE + row * (tile[1] + GAP) + top))
    for top in range(num_blocks if gutter else 0):
        for row, name in enumerate(rows):
            _write_upward(sheet, name, MARGIN, MARGIN + top * block + LINE + row * (tile[1] + GAP), tile[1])
    return np.asarray(sheet)


def _tile_height(height: int) -> int:
    """The frame's own if it fits, or a whole multiple of it, so that no pixel is drawn wider than the next."""
    return min(height, MAX_TILE) * max(1, MAX_TILE * 3 // 4 // height)


def _tile(frame: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> Image.Image:
    """Shrunk smoothly, enlarged without smoothing: a low resolution should look like one."""
    grows = frame.shape[1] < size[0]
    return Image.fromarray(frame).resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def _write(sheet: Image.Image, text: str, x: int, y: int) -> None:
    ImageDraw.Draw(sheet).text((x, y), text, fill=INK, font=ImageFont.load_default(13))


def _write_upward(sheet: Image.Image, text: str, x: int, y: int, height: int) -> None:
    """From the middle of a tile's left side, read from bottom to top."""
    font = ImageFont.load_default(13)
    if (length := font.getlength(text)) > height:
        font = ImageFont.load_default(13 * height / length)
    line = Image.new("RGB", (height, LINE), PAPER)
    ImageDraw.Draw(line).text((height // 2, 0), text, fill=INK, font=font, anchor="ma")
    sheet.paste(line.rotate(90, expand=True), (x, y))
