"""Files that clients send for takes to begin with: a picture, or a video that is continued.

Such a file is in the folder of its take before the record is: a take that exists has its file, and so have its remixes
and extensions, which get a copy. It is never changed.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from longtake.pipelines.runners.existing_video import output_size
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
    fps: str = ""  # of a video: 25 or 30000/1001
    notes: tuple[str, ...] = ()  # on what was left out or converted

    @property
    def file(self) -> str:
        """Its name in the folder of the take."""
        return PICTURE if self.kind is InputKind.IMAGE else SOURCE

    @property
    def rate(self) -> Fraction | None:
        """Frames per second of a video."""
        return Fraction(self.fps) if self.fps else None

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of a video's continuation: its own, without an odd last row or column."""
        return None if self.kind is InputKind.IMAGE else output_size(self.height, self.width)
