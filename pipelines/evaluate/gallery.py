"""A page of videos: each beside its low-resolution preview, with prompt, metrics and contact sheet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longtake.pipelines.evaluate.pages import render


@dataclass(frozen=True, slots=True)
class GalleryVideo:
    """One video of the page and its facts."""

    prompt: str
    video: Path
    num_frames: int
    fps: float  # frames per second of the file
    generate_s: float  # working time of the base model
    refine_s: float  # working time of the refiner; the two may overlap
    seed: int | None = None
    preview: Path | None = None  # the low-resolution video
    contact_sheet: Path | None = None


def write_gallery(
    path: str | os.PathLike[str], videos: Sequence[GalleryVideo], title: str = "Longtake", note: str = ""
) -> Path:
    """Writes the page to `path` and returns it; `note` is a sentence under the title. Raises OSError."""
    page = Path(path)
    page.write_text(gallery(videos, page.parent, title, note), encoding="utf-8")
    return page


def gallery(videos: Sequence[GalleryVideo], folder: Path, title: str = "Longtake", note: str = "") -> str:
    """The page as HTML, with links relative to `folder`."""
    shown = [
        {
            "prompt": video.prompt,
            "video": _relative(video.video, folder),
            "preview": _relative(video.preview, folder),
            "contact_sheet": _relative(video.contact_sheet, folder),
            "facts": _facts(video),
        }
        for video in videos
    ]
    return render("gallery.html.j2", title=title, note=note, videos=shown)


def _relative(path: Path | None, folder: Path) -> str | None:
    return None if path is None else Path(os.path.relpath(path, folder)).as_posix()


def _facts(video: GalleryVideo) -> list[tuple[str, str]]:
    facts = [
        ("Length", f"{video.num_frames} frames, {video.num_frames / video.fps:.1f} s at {video.fps:g} fps"),
        ("Generated in", f"{video.generate_s:.1f} s"),
        ("Refined in", f"{video.refine_s:.1f} s"),
    ]
    return facts if video.seed is None else [*facts, ("Seed", str(video.seed))]
