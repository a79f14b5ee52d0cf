"""Where the files of a take are. All but the folder are relative to it.

takes/<id>/take.json                        what was asked, how far it is
takes/<id>/fragments/000000.mp4             of the video; the first one begins with ftyp and moov
takes/<id>/previews/000000.mp4              the same of the low-resolution chunks
takes/<id>/chunks/000000.npz                what the base model returned: to go on from
takes/<id>/boundaries/000003-0-1.npz        what window 4 needs of window 3, for steps [0, 1)
takes/<id>/video.mp4, thumbnail.jpg, spritesheet.jpg
"""

import re

from longtake.models.domain.span import Span

TAKES = "takes"
RECORD = "take.json"
VIDEO, THUMBNAIL, SPRITESHEET = "video.mp4", "thumbnail.jpg", "spritesheet.jpg"
FRAGMENTS, PREVIEWS, CHUNKS, BOUNDARIES = "fragments", "previews", "chunks", "boundaries"
_ID = re.compile("video_[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Whether a take could have this id: no other text becomes part of a path."""
    return _ID.fullmatch(text) is not None


def folder(take_id: str) -> str:
    """Raises ValueError for what is no id."""
    if not is_id(take_id):
        raise ValueError(f"id={take_id!r}: it has to be video_ and 32 hexadecimal digits")
    return f"{TAKES}/{take_id}"


def fragment_name(index: int) -> str:
    return f"{FRAGMENTS}/{index:06}.mp4"


def preview_name(index: int) -> str:
    return f"{PREVIEWS}/{index:06}.mp4"


def chunk_name(index: int) -> str:
    return f"{CHUNKS}/{index:06}.npz"


def boundary_name(window: int, steps: Span) -> str:
    return f"{BOUNDARIES}/{window:06}-{steps.start}-{steps.stop}.npz"
