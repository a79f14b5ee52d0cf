"""`make demo`: four prompts become four videos, and a page shows them side by side."""

import sys
from functools import partial
from pathlib import Path

from models.plan import Plan
from pipelines.api import Longtake, load
from pipelines.gallery import Take, write_gallery
from pipelines.progress import Progress
from pipelines.recording import Places, record

PROMPTS = (
    "a large red circle moves right over a plain navy background",
    "a small yellow square moves up over a gradient teal background",
    "a large cyan ring moves left over a striped brown background",
    "a small white triangle bounces over a plain olive background",
)
NUM_FRAMES = 80
SEED = 7
NOTE = "Made on this machine by make demo. Left: the finished video. Right: what the base model made before refinement."


def main(folder: Path = Path("demo"), num_frames: int = NUM_FRAMES, longtake: Longtake | None = None) -> Path:
    """Writes videos, previews, contact sheets and the page into `folder`, and returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    longtake = longtake or load()
    takes = [_make(longtake, prompt, folder, f"{i}", num_frames) for i, prompt in enumerate(PROMPTS, 1)]
    return write_gallery(folder / "index.html", takes, "Longtake: four long takes", NOTE)


def _make(longtake: Longtake, prompt: str, folder: Path, name: str, num_frames: int) -> Take:
    places = Places(folder / f"{name}.mp4", folder / f"{name}-preview.mp4", folder / f"{name}-frames.png")
    conf = longtake.conf
    fps = conf.fps
    print(f"{name}/{len(PROMPTS)}  {prompt}", flush=True)
    with Progress(Plan(num_frames, conf.plan), conf.refiner.num_inference_steps) as progress:
        stream = partial(longtake.stream, prompt, num_frames, SEED, "")
        report = record(stream, num_frames, fps, places, progress.observe)
    print(f"     {places.out}: {report}", flush=True)
    return Take(
        prompt,
        places.out,
        num_frames,
        fps,
        report.first_segment_s,
        report.frames_per_second,
        SEED,
        places.preview,
        places.contact_sheet,
    )


if __name__ == "__main__":
    try:
        print(f"Look at it: {main().resolve().as_uri()}")
    except KeyboardInterrupt:
        sys.exit("stopped")
