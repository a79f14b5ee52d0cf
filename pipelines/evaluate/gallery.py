"""One page to look at videos: each beside its low-resolution preview, with prompt, figures and contact sheet.

The page needs nothing but the files it names, by relative paths, so the folder can be moved, zipped or served.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Take:
    """One video of the page, and what is said about it."""

    prompt: str
    video: Path
    num_frames: int
    fps: float  # frames a second when it is shown
    generate_s: float  # that the base model worked on it
    refine_s: float  # that the refiner did; both may have been at work at the same time
    seed: int | None = None
    preview: Path | None = None  # the low-resolution video
    contact_sheet: Path | None = None


def write_gallery(path: str | os.PathLike[str], takes: Sequence[Take], title: str = "Longtake", note: str = "") -> Path:
    """Writes the page of `takes` to `path` and returns it; `note` is a sentence under the title. Raises OSError."""
    page = Path(path)
    page.write_text(gallery(takes, page.parent, title, note), encoding="utf-8")
    return page


def gallery(takes: Sequence[Take], folder: Path, title: str = "Longtake", note: str = "") -> str:
    """The page as HTML, with links relative to `folder`."""
    return PAGE.format(
        title=escape(title),
        note=f"<p>{escape(note)}</p>" if note else "",
        style=STYLE,
        script=SCRIPT,
        takes="\n".join(_article(take, folder) for take in takes),
    )


def _article(take: Take, folder: Path) -> str:
    videos = _video(take.video, folder, "refined", f"Refined video: {take.prompt}", "controls")
    if take.preview is not None:
        videos += _video(take.preview, folder, "preview, before refinement", f"Preview: {take.prompt}", "")
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(take))
    sheet = ""
    if take.contact_sheet is not None:
        link = _link(take.contact_sheet, folder)
        alt = escape(f"Frames of the video in order: {take.prompt}")
        sheet = f'<a class="sheet" href="{link}"><img src="{link}" alt="{alt}" loading="lazy"></a>'
    return f'<article><h2>{escape(take.prompt)}</h2><div class="stage">{videos}<dl>{facts}</dl></div>{sheet}</article>'


def _facts(take: Take) -> list[tuple[str, str]]:
    facts = [
        ("Length", f"{take.num_frames} frames, {take.num_frames / take.fps:.1f} s at {take.fps:g} fps"),
        ("Generated in", f"{take.generate_s:.1f} s"),
        ("Refined in", f"{take.refine_s:.1f} s"),
    ]
    return facts if take.seed is None else [*facts, ("Seed", str(take.seed))]


def _video(path: Path, folder: Path, caption: str, label: str, attributes: str) -> str:
    # Muted and inline: phones play a video on their own only so.
    return (
        f'<figure><video src="{_link(path, folder)}" aria-label="{escape(label)}" {attributes} autoplay muted loop'
        f' playsinline preload="auto"></video><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _link(path: Path, folder: Path) -> str:
    # "./": a file name with a colon would read as an address
    return escape("./" + quote(Path(os.path.relpath(path, folder)).as_posix()))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1>{note}</header>
{takes}
</main>
<script>{script}</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --paper: #fafaf8; --ink: #1c1d20; --quiet: #666a71; --line: #e3e3df; --stage: #111; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131417; --ink: #e9e9e6; --quiet: #9a9ea6; --line: #2a2c31; --stage: #000; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2.5rem); }
h1 { margin: 0; font-size: 1.75rem; font-weight: 600; letter-spacing: -.02em; }
header p { margin: .35rem 0 0; max-width: 40rem; color: var(--quiet); }
article { margin-top: 2.5rem; padding-top: 2rem; border-top: 1px solid var(--line); }
h2 { margin: 0 0 1rem; max-width: 46rem; font-size: 1.2rem; font-weight: 500; line-height: 1.4; }
h1, h2 { overflow-wrap: anywhere; }
.stage { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)) minmax(0, 14rem); gap: 1rem; }
figure { margin: 0; }
video { display: block; width: 100%; border-radius: 6px; background: var(--stage); }
figcaption { margin-top: .4rem; font-size: .85rem; color: var(--quiet); }
dl { grid-column: -2; display: grid; gap: .9rem; align-content: start; margin: 0 0 0 .75rem; }
dt { font-size: .8rem; color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
.sheet { display: block; margin-top: 1.25rem; }
.sheet img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
@media (max-width: 46rem) {
  .stage { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; }
  dl { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .6rem 1.75rem; margin: .25rem 0 0; }
}
"""

# The preview follows the refined video: same moment, paused when it is. With reduced motion both are started by hand.
SCRIPT = """
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
for (const article of document.querySelectorAll("article")) {
  const [video, low] = article.querySelectorAll("video");
  if (still) { video.autoplay = false; video.pause(); }
  if (!low) continue;
  if (still) { low.autoplay = false; low.pause(); }
  const follow = () => { if (Math.abs(low.currentTime - video.currentTime) > .1) low.currentTime = video.currentTime; };
  for (const moment of ["timeupdate", "seeked", "play", "pause"]) video.addEventListener(moment, follow);
  video.addEventListener("play", () => low.play());
  video.addEventListener("pause", () => low.pause());
}
"""
