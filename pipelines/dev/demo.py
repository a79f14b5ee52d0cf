"""`make demo`: a bulk job makes four videos on a Ray of its own, and a page shows them with their previews."""

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from longtake.models.video.mp4 import decode
from longtake.models.video.sheet import sheet_numbers
from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.command import run
from longtake.pipelines.bulk.settings import load_bulk
from longtake.pipelines.cli.video_recorder import save_sheet
from longtake.pipelines.datasets.manifest import Manifest, VideoRow
from longtake.pipelines.evaluate.gallery import GalleryVideo, write_gallery
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.ray_cluster import Factories
from longtake.pipelines.terminal.session import session

PROMPTS = (
    "a large red circle moves right over a plain navy background",
    "a small yellow square moves up over a gradient teal background",
    "a large cyan ring moves left over a striped brown background",
    "a small white triangle bounces over a plain olive background",
)
NUM_FRAMES = 80
SEED = 7
NOTE = "Made on this machine by make demo. Left: the finished video. Right: the base model's video, before refinement."
PARTS = ("job.json", "manifest", "previews", "videos")  # of an earlier demo


def main(
    folder: Path = Path("demo"),
    num_frames: int = NUM_FRAMES,
    overrides: Sequence[str] = (),
    factories: Factories | None = None,
) -> Path:
    """Writes videos, previews, contact sheets and the page into `folder`, and returns the page's path.

    `factories` replace the bundle's stages in tests. Raises RuntimeError if a video failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink(missing_ok=True)
    prompts = folder / "prompts.jsonl"
    rows = ({"id": f"{i}", "prompt": prompt, "seed": SEED} for i, prompt in enumerate(PROMPTS, 1))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = (f"prompts={prompts}", f"out={folder}", f"num_frames={num_frames}", "previews=true", *overrides)
    prepared = check(load_bulk(overrides=job))
    run(prepared, factories)
    store = prepared.store
    videos = [_shown(row, store, folder) for row in sorted(Manifest(store).rows(), key=lambda row: row.ordinal)]
    return write_gallery(folder / "index.html", videos, "Longtake: four long takes", NOTE)


def _shown(row: VideoRow, store: Store, folder: Path) -> GalleryVideo:
    if row.path is None or row.preview is None:
        raise RuntimeError(f"video {row.id} failed: {row.reason}")
    sheet = folder / f"{row.id}-frames.png"
    refined, before = (list(decode(io.BytesIO(store.get(path)))) for path in (row.path, row.preview))
    save_sheet(sheet, sheet_numbers(len(refined)), before, refined)
    assert None not in (row.prompt, row.num_frames, row.fps, row.generate_s, row.refine_s), "a video that is done"
    return GalleryVideo(
        row.prompt or "",
        folder / row.path,
        row.num_frames or 0,
        row.fps or 0.0,
        row.generate_s or 0.0,
        row.refine_s or 0.0,
        row.seed,
        folder / row.preview,
        sheet,
    )


if __name__ == "__main__":
    try:
        with session("demo"):
            print(f"Open {main().resolve().as_uri()}")
    except KeyboardInterrupt:
        sys.exit("stopped")
