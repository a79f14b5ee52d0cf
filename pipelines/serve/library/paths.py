"""Layout of a take's folder. Names are relative to it.

takes/<id>/take.json                        the record: request and progress
takes/<id>/fragments/000000.mp4             fragments of the video; the first one begins with ftyp and moov
takes/<id>/previews/000000.mp4              fragments of the low-resolution video
takes/<id>/chunks/000000.npz                output of the base model, to resume from
takes/<id>/boundaries/000003-0-1.npz        window 3's predictions for window 4, of steps [0, 1)
takes/<id>/input.png, input.video           what a client sent: a picture to begin with, or a video to continue
takes/<id>/held.npz                         frames of that video in the first window of the models
takes/<id>/video.mp4, thumbnail.jpg, spritesheet.jpg
"""

import re

from longtake.models.domain.span import Span

TAKES = "takes"
RECORD = "take.json"
VIDEO, THUMBNAIL, SPRITESHEET = "video.mp4", "thumbnail.jpg", "spritesheet.jpg"
PICTURE, SOURCE, HELD = "input.png", "input.video", "held.npz"
FRAGMENTS, PREVIEWS, CHUNKS, BOUNDARIES = "fragments", "previews", "chunks", "boundaries"
_ID = re.compile("video_[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Whether `text` has the form of a take's id. Only such a text becomes part of a path."""
    return _ID.fullmatch(text) is not None


def folder(take_id: str) -> str:
    """Raises ValueError for an invalid id."""
    if not is_id(take_id):
        raise ValueError(f"id={take_id!r}: must be video_ and 32 hexadecimal digits")
    return f"{TAKES}/{take_id}"


def path_of(take_id: str, name: str) -> str:
    """The path of a file in the store. Raises as `folder`."""
    return f"{folder(take_id)}/{name}"


def fragment_name(index: int) -> str:
    return f"{FRAGMENTS}/{index:06}.mp4"


def preview_name(index: int) -> str:
    return f"{PREVIEWS}/{index:06}.mp4"


def chunk_name(index: int) -> str:
    return f"{CHUNKS}/{index:06}.npz"


def boundary_name(window: int, steps: Span) -> str:
    return f"{BOUNDARIES}/{window:06}-{steps.start}-{steps.stop}.npz"
