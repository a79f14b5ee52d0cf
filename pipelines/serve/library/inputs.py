"""Files that clients send for takes to begin with: a picture, or a video that is continued.

Such a file is in the folder of its take before the record is: a take that exists has its file, and so have its remixes
and extensions, which get a copy. It is never changed.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from longtake.pipelines.serve.library.paths import PICTURE, SOURCE


class InputKind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A picture, kept as PNG and upright, or a video, kept as it came."""

    kind: InputKind
    num_bytes: int  # as it is kept
    width: int  # pixels, as people see it
    height: int
    num_frames: int = 1
    rate: str = ""  # of a video, in frames per second: 25 or 30000/1001
    notes: tuple[str, ...] = ()  # on what was left out or converted

    @property
    def file(self) -> str:
        """Its name in the folder of the take."""
        return PICTURE if self.kind is InputKind.IMAGE else SOURCE

    @property
    def fps(self) -> Fraction | None:
        """The rate of a video."""
        return Fraction(self.rate) if self.rate else None

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of a video's continuation: its own, without an odd last row or column."""
        return None if self.kind is InputKind.IMAGE else (self.height // 2 * 2, self.width // 2 * 2)
